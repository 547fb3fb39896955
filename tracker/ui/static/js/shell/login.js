/**
 * The dialog that asks for the token or password if the server does not know this browser.
 */
import { api, ApiError } from "../core/api.js";
import { openDialog } from "../core/dialog.js";
import { h } from "../core/dom.js";
import { trouble } from "../core/runs.js";

let asking = false;

/** Ask whenever the server has refused this browser. */
export function startLogin() {
  const look = () => {
    const error = trouble.peek();
    if (error instanceof ApiError && error.status === 401 && !asking) ask();
  };
  trouble.subscribe(look);
  look();
}

function ask() {
  asking = true;
  const input = h("input", { type: "password", id: "login-token", autocomplete: "current-password", required: true });
  const message = h("p", { class: "login-error", role: "alert" });
  const button = h("button", { type: "submit", class: "primary" }, "Open");
  const form = h("form", { class: "login" },
    h("p", null, "The server does not know this browser. Open the address that “tracker ui” prints, or enter the token or password here. " +
      "Without --auth, the token is in ~/.local/state/tracker/token on the server's machine."),
    h("label", { for: "login-token" }, "Token or password"), h("div", { class: "login-row" }, input, button), message);
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    button.disabled = true;
    message.textContent = "";
    api.post("login", { token: input.value.trim() }).then(() => location.reload(), (error) => {
      button.disabled = false;
      message.textContent = error.status === 401 ? "The token or password is wrong." : error.message;
      input.select();
    });
  });
  openDialog({ title: "Sign in", body: form, onClose: () => { asking = false; } });
  input.focus();
}
