// A stream of server-sent events that comes back. The browser's own gives up for good on any HTTP error, and says not why.

const LONGEST = 30_000;
const HIDDEN_AFTER = 15_000;

// A browser makes six connections to one host at most, and each stream holds one: with a stream for every page the seventh
// would not even load. The pages that were looked at last have theirs; the others ask now and then, as every page does.
const MOST_PAGES = 2;
const page = Math.random().toString(36).slice(2);
const others = "BroadcastChannel" in window ? new BroadcastChannel("streams") : null;
const streams = new Set();
/** The pages that were looked at after this one. */
const later = new Set();

const hasPlace = () => later.size < MOST_PAGES;

function claim() {
  later.clear();
  others?.postMessage({ claims: page });
  for (const stream of streams) stream.resume();
}

others?.addEventListener("message", ({ data }) => {
  if (data.claims) later.add(data.claims);
  else later.delete(data.leaves);
  for (const stream of streams) {
    if (!hasPlace()) stream.pause();
    else if (stream.paused) stream.resume();
  }
});
addEventListener("focus", claim);
addEventListener("pagehide", () => others?.postMessage({ leaves: page }));
document.addEventListener("visibilitychange", () => document.hidden || claim());

/**
 * Keeps one EventSource open while the page is seen.
 *
 * `url` is a function: what it returns may depend on how far the reader has come. `on` maps names of events to handlers.
 * `changed(state, {seconds, again, restarting})` is told live, reconnecting, paused or signed-out; `restarting` when the
 * service said that it ends.
 */
export class Stream {
  constructor(url, on, changed = () => {}) {
    this.url = url;
    this.on = on;
    this.changed = changed;
    this.tries = 0;
    this.ended = false;
    this.paused = false;
    this.restarting = false;
    document.addEventListener("visibilitychange", () => this.#seen());
    // Leaving the page ends the stream at once, so that its place is free for the next page.
    addEventListener("pagehide", () => this.#stop());
    addEventListener("pageshow", (event) => event.persisted && claim());
    streams.add(this);
    // One that is opened in the background begins when it is looked at.
    if (!document.hidden) claim();
  }

  open() {
    this.#stop();
    this.paused = false;
    if (this.ended) return;
    this.source = new EventSource(this.url());
    this.source.onopen = () => {
      this.tries = 0;
      this.restarting = false;
      this.changed("live", {});
    };
    this.source.onerror = () => this.#lost();
    for (const [name, handle] of Object.entries(this.on)) {
      this.source.addEventListener(name, (event) => handle(JSON.parse(event.data), event));
    }
    this.source.addEventListener("auth", () => this.#signedOut());
    this.source.addEventListener("restart", () => {
      this.restarting = true;
      this.#lost();
    });
  }

  /** Nothing more will come. */
  end() {
    this.ended = true;
    this.#stop();
  }

  /** Open again if nothing is, and somebody looks. */
  resume() {
    if (this.source || this.ended || document.hidden) return;
    this.tries = 0;
    this.open();
  }

  pause() {
    if (this.ended || this.paused) return;
    this.#stop();
    this.paused = true;
    this.changed("paused", {});
  }

  #stop() {
    clearTimeout(this.timer);
    this.timer = 0;
    this.source?.close();
    this.source = null;
  }

  async #lost() {
    this.#stop();
    this.tries += 1;
    const wait = Math.min(500 * 2 ** (this.tries - 1), LONGEST) * (0.7 + 0.6 * Math.random());
    const again = () => this.open();
    this.changed("reconnecting", { seconds: Math.ceil(wait / 1000), again, restarting: this.restarting });
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
    if (document.hidden) this.hiding = setTimeout(() => this.pause(), HIDDEN_AFTER);
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
