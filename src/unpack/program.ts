/** The unpacker's process: `program < jobs`. The daemon starts it, and keeps it for a moment. */
import { exitNow } from "../linux/process/index.ts";
import { runUnpacker } from "./main.ts";

// Not process.exit(): it would wait for a running read, and the blob may arrive slowly.
void runUnpacker().then(exitNow);
