// A stream of server-sent events that comes back. The browser's own gives up for good on any HTTP error, and says not why.

const LONGEST = 30_000;
const HIDDEN_AFTER = 15_000;

// A browser makes six connections to one host at most, and each stream holds one: with a stream for every page the seventh
// would not even load. The pages that were looked at last have theirs; the others ask now and then.
const MOST_PAGES = 4;
const page = Math.random().toString(36).slice(2);
const others = "BroadcastChannel" in window ? new BroadcastChannel("streams") : null;
/** The pages that were looked at after this one. */
const later = new Set();

/**
 * Keeps one EventSource open while the page is seen. A page has one of these.
 *
 * `url` is a function: what it returns may depend on how far the reader has come. `on` maps names of events to handlers.
 * `changed(state, {seconds, again, restarting, crowded})` is told live, reconnecting, paused or signed-out; `restarting` when
 * the service said that it ends, `crowded` when it is paused since others were looked at later. `again()` opens it.
 */
export class Stream {
  #hiding = 0;
  #timer = 0;
  #tries = 0;
  #ended = false;
  #paused = false;
  #restarting = false;
  #source = null;

  constructor(url, on, changed) {
    this.url = url;
    this.on = on;
    this.changed = changed;
    document.addEventListener("visibilitychange", () => this.#seen());
    addEventListener("focus", () => this.#claim());
    // Of windows side by side the focus tells nothing about the one that is used again.
    for (const use of ["pointerdown", "keydown"]) addEventListener(use, () => this.#use(), { capture: true, passive: true });
    addEventListener("online", () => this.resume());
    // Leaving the page ends the stream at once, so that its place is free for the next page.
    addEventListener("pagehide", () => {
      others?.postMessage({ leaves: page });
      this.#stop();
    });
    addEventListener("pageshow", (event) => event.persisted && this.#claim());
    others?.addEventListener("message", ({ data }) => this.#heard(data));
    // One that is opened in the background begins when it is looked at.
    if (!document.hidden) this.#claim();
  }

  /** Open, anew if it is open: what `url` says may have changed. */
  open() {
    this.#stop();
    this.#paused = false;
    if (this.#ended) return;
    this.#source = new EventSource(this.url());
    this.#source.onopen = () => {
      this.#tries = 0;
      this.#restarting = false;
      this.changed("live", {});
    };
    this.#source.onerror = () => this.#lost();
    for (const [name, handle] of Object.entries(this.on)) {
      this.#source.addEventListener(name, (event) => handle(JSON.parse(event.data), event));
    }
    this.#source.addEventListener("auth", () => this.#signedOut());
    this.#source.addEventListener("restart", () => {
      this.#restarting = true;
      this.#lost();
    });
  }

  /** Nothing more will come. */
  end() {
    this.#ended = true;
    this.#stop();
  }

  /** Open at once unless it is open, or nobody looks. */
  resume() {
    if (this.#source || this.#ended || document.hidden || later.size >= MOST_PAGES) return;
    this.#tries = 0;
    this.open();
  }

  pause(crowded = false) {
    if (this.#ended || this.#paused) return;
    this.#stop();
    this.#paused = true;
    this.changed("paused", { crowded, again: () => this.#claim() });
  }

  get paused() {
    return this.#paused;
  }

  #use() {
    if (this.#paused) this.#claim();
  }

  #claim() {
    later.clear();
    others?.postMessage({ claims: page });
    this.resume();
  }

  #heard({ claims, leaves }) {
    if (claims) later.add(claims);
    else later.delete(leaves);
    if (later.size >= MOST_PAGES) this.pause(true);
    else if (this.#paused) this.resume();
  }

  #stop() {
    clearTimeout(this.#timer);
    this.#timer = 0;
    this.#source?.close();
    this.#source = null;
  }

  async #lost() {
    this.#stop();
    this.#tries += 1;
    const wait = Math.min(500 * 2 ** (this.#tries - 1), LONGEST) * (0.7 + 0.6 * Math.random());
    const again = () => this.open();
    this.changed("reconnecting", { seconds: Math.ceil(wait / 1000), again, restarting: this.#restarting });
    this.#timer = setTimeout(again, wait);
    // An EventSource does not tell a refusal from a broken line.
    if (this.#tries > 1 && (await signedIn()) === false) this.#signedOut();
  }

  #signedOut() {
    this.end();
    this.changed("signed-out", {});
  }

  #seen() {
    clearTimeout(this.#hiding);
    if (document.hidden) this.#hiding = setTimeout(() => this.#hide(), HIDDEN_AFTER);
    else this.#claim();
  }

  #hide() {
    others?.postMessage({ leaves: page });
    this.pause();
  }
}

/** Whether this browser has a session; undefined when nobody answers. */
async function signedIn() {
  try {
    const answer = await fetch("/login", { headers: { Accept: "application/json" } });
    return answer.ok ? (await answer.json()).signed_in : undefined;
  } catch {
    return undefined;
  }
}
