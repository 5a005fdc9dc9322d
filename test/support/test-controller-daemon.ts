/**
 * The daemon, from its sources, with the test's controller: `davit serve` with a driver of shims.
 * DAVIT_TEST_CONTROLLER is the file of the script.
 *
 *   test-controller-daemon.ts serve --config FILE
 */
import { loadConfig } from "../../src/config/load.ts";
import { runDaemon } from "../../src/daemon/index.ts";
import { TestController } from "./test-controller.ts";

const [, , , , file = ""] = process.argv;
const script = process.env["DAVIT_TEST_CONTROLLER"];
if (script === undefined)
  throw new Error("start the daemon: DAVIT_TEST_CONTROLLER names no script");

const daemon = await runDaemon(loadConfig(file), {
  version: "test",
  controllers: (parts) => [new TestController({ script, ...parts })],
});
process.once("SIGTERM", () => void daemon.close());
await daemon.closed;
