// What every page has, besides its frame (shell.js).

import { start as startActions } from "./actions.js";
import { start as startJump } from "./jump.js";
import { start as startKeys } from "./keys.js";
import { start as startLive } from "./live.js";
import { start as startTimes } from "./times.js";
import { adopt } from "./toasts.js";

document.documentElement.classList.add("has-script");
adopt();
startTimes();
startActions();
startLive();
startJump();
startKeys();
document.getElementById("summary")?.focus();
