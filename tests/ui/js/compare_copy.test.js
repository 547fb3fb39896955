import assert from "node:assert/strict";
import { test } from "node:test";
import { csv, escapeLatex, escapeMarkdown, latex, markdown } from "../../../tracker/ui/static/js/compare/copy.js";

const TABLE = { head: ["", "run_a", "b|c"], rows: [["lr", "0.1", "50 %"], ["<img src=x>", "a\nb", ""]], strong: [[false, true, false]] };

test("markdown", () => {
  assert.equal(markdown(TABLE), "|  | run\\_a | b\\|c |\n| --- | ---: | ---: |\n| lr | **0.1** | 50 % |\n| \\<img src=x\\> | a b |  |\n");
});

test("markdown escapes everything that has a meaning", () => {
  assert.equal(escapeMarkdown("a\\b `c` *d* [e](f) ~g~ &amp; #1 $x$"), "a\\\\b \\`c\\` \\*d\\* \\[e\\](f) \\~g\\~ &amp;amp; \\#1 \\$x\\$");
  assert.equal(escapeMarkdown("left\u202eright\u0000"), "leftright");
});

test("latex", () => {
  const text = latex({ ...TABLE, caption: "50 % of R&D" });
  assert.match(text, /\\begin\{tabular\}\{lrr\}/);
  assert.match(text, / {4} & run\\_a & b\\textbar\{\}c \\\\/);
  assert.match(text, /lr & \\textbf\{0\.1\} & 50 \\% \\\\/);
  assert.match(text, /\\textless\{\}img src=x\\textgreater\{\} & a b & {2}\\\\/);
  assert.match(text, /\\caption\{50 \\% of R\\&D\}/);
});

test("latex escapes everything that has a meaning", () => {
  assert.equal(escapeLatex("\\input{x}"), "\\textbackslash{}input\\{x\\}");
  assert.equal(escapeLatex("a_b^c~d#e$f−1 ∞"), "a\\_b\\textasciicircum{}c\\textasciitilde{}d\\#e\\$f$-$1 $\\infty$");
});

test("csv", () => {
  assert.equal(csv({ head: ["key", 'a "b"'], rows: [["x,y", "-1.5e-3"], ["=1+1", "-x"]] }), 'key,"a ""b"""\r\n"x,y",-1.5e-3\r\n\'=1+1,\'-x\r\n');
});
