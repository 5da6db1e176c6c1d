// An operation that was begun a moment ago.

import { refresh, subscribe } from "./live.js";

// What was selected has been acted on: the selection of the list has done its work.
try {
  sessionStorage.removeItem("procdeck.selection");
} catch {
  // Without storage there was none.
}

// It may have ended between the making of the page and the opening of its stream.
subscribe({ on: { hello: () => refresh() } });
