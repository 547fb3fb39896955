// Counts the work that a page has under way, so that a test can wait until there is none. Runs before the page's own scripts.
(() => {
    const native = { fetch, setTimeout, clearTimeout, requestAnimationFrame, cancelAnimationFrame };
    /** Longest timer that counts as work under way, in milliseconds: debouncing does, the next poll does not. */
    const SOON = 500;
    /** What is under way: a name for each. */
    const works = new Map();
    let begun = 0;
    let polls = 0;
    const begin = name => {
        begun += 1;
        const number = begun;
        works.set(number, name);
        return () => works.delete(number);
    };

    window.fetch = async (url, init) => {
        const address = String(url?.url ?? url);
        const isPoll = address.includes("/changes?");
        const end = isPoll ? () => undefined : begin(address);
        polls += isPoll ? 1 : 0;
        try {
            return await native.fetch.call(window, url, init);
        } finally {
            polls -= isPoll ? 1 : 0;
            end();
        }
    };
    for (const name of ["arrayBuffer", "blob", "json", "text"]) {
        const read = Response.prototype[name];
        Response.prototype[name] = function () {
            const end = begin(`body of ${this.url}`);
            const content = read.call(this);
            content.then(end, end);
            return content;
        };
    }

    const timers = new Map();
    window.setTimeout = (action, wait = 0, ...rest) => {
        const end = wait > SOON ? () => undefined : begin(`timer of ${wait} ms`);
        const run = () => {
            timers.delete(id);
            try {
                action(...rest);
            } finally {
                end();
            }
        };
        const id = native.setTimeout.call(window, run, wait);
        timers.set(id, { run, end });
        return id;
    };
    window.clearTimeout = id => {
        timers.get(id)?.end();
        timers.delete(id);
        native.clearTimeout.call(window, id);
    };
    /** Let the time pass that all timers wait for. */
    window.elapse = () => {
        for (const [id, { run }] of [...timers]) {
            native.clearTimeout.call(window, id);
            run();
        }
    };

    const frames = new Map();
    window.requestAnimationFrame = action => {
        const end = begin("animation frame");
        const id = native.requestAnimationFrame.call(window, now => {
            frames.delete(id);
            try {
                action(now);
            } finally {
                end();
            }
        });
        frames.set(id, end);
        return id;
    };
    window.cancelAnimationFrame = id => {
        frames.get(id)?.();
        frames.delete(id);
        native.cancelAnimationFrame.call(window, id);
    };

    /** Wait until nothing is under way, and nothing has begun for two frames; with `withPolls`, no poll either. */
    window.idle = (limit, withPolls = false) => new Promise((done, fail) => {
        const deadline = performance.now() + limit;
        let seen = -1;
        const look = () => {
            if (works.size === 0 && begun === seen && !(withPolls && polls)) done();
            else if (performance.now() > deadline) fail(new Error(`still under way: ${[...works.values()].slice(0, 5).join(", ")}`));
            else {
                seen = begun;
                wait();
            }
        };
        // Observers of sizes and of what is on the screen are called after the first of the frames.
        const wait = () => native.requestAnimationFrame.call(window, () =>
            native.requestAnimationFrame.call(window, () => native.setTimeout.call(window, look)));
        wait();
    });
})();
