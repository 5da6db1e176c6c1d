// What every page has.

import { start as startActions } from "./actions.js";
import { start as startLive } from "./live.js";
import { start as startTimes } from "./times.js";
import { adopt } from "./toasts.js";

document.documentElement.classList.add("has-script");
adopt();
startTimes();
startActions();
startLive();
document.getElementById("summary")?.focus();
