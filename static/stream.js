// A stream of server-sent events that comes back. The browser's own gives up for good on any HTTP error, and says not why.

const LONGEST = 30_000;
const HIDDEN_AFTER = 15_000;

/**
 * Keeps one EventSource open while the page is seen.
 *
 * `url` is a function: what it returns may depend on how far the reader has come. `on` maps names of events to handlers.
 * `changed(state, {seconds, again})` is told live, reconnecting, paused or signed-out.
 */
export class Stream {
  constructor(url, on, changed = () => {}) {
    this.url = url;
    this.on = on;
    this.changed = changed;
    this.tries = 0;
    this.ended = false;
    document.addEventListener("visibilitychange", () => this.#seen());
    // Leaving the page ends the stream at once, so that its place is free for the next page.
    addEventListener("pagehide", () => this.#stop());
    addEventListener("pageshow", (event) => event.persisted && this.open());
    this.open();
  }

  open() {
    this.#stop();
    if (this.ended) return;
    this.source = new EventSource(this.url());
    this.source.onopen = () => {
      this.tries = 0;
      this.changed("live", {});
    };
    this.source.onerror = () => this.#lost();
    for (const [name, handle] of Object.entries(this.on)) {
      this.source.addEventListener(name, (event) => handle(JSON.parse(event.data), event));
    }
    this.source.addEventListener("auth", () => this.#signedOut());
  }

  /** Nothing more will come. */
  end() {
    this.ended = true;
    this.#stop();
  }

  #stop() {
    clearTimeout(this.timer);
    this.source?.close();
    this.source = null;
  }

  async #lost() {
    this.#stop();
    this.tries += 1;
    const wait = Math.min(500 * 2 ** (this.tries - 1), LONGEST) * (0.7 + 0.6 * Math.random());
    const again = () => this.open();
    this.changed("reconnecting", { seconds: Math.ceil(wait / 1000), again });
    this.timer = setTimeout(again, wait);
    // An EventSource does not tell a refusal from a broken line.
    if (this.tries > 1 && (await signedIn()) === false) this.#signedOut();
  }

  #signedOut() {
    this.end();
    this.changed("signed-out", {});
  }

  #seen() {
    clearTimeout(this.hiding);
    if (document.hidden) {
      this.hiding = setTimeout(() => {
        this.#stop();
        this.changed("paused", {});
      }, HIDDEN_AFTER);
    } else if (!this.source && !this.ended) {
      this.tries = 0;
      this.open();
    }
  }
}

/** Whether this browser has a session; undefined when nobody answers. */
export async function signedIn() {
  try {
    const answer = await fetch("/login", { headers: { Accept: "application/json" } });
    return answer.ok ? (await answer.json()).signed_in : undefined;
  } catch {
    return undefined;
  }
}
