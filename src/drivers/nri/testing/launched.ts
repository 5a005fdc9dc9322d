// A plugin that davit starts, as a program: the test's file of the plugin directory imports this one. It writes what it
// was started with to its output.
import { Socket } from "node:net";
import process from "node:process";
import { setTimeout } from "node:timers";
import { TestPlugin } from "./plugin.ts";

const socket = new Socket({
  fd: Number(process.env["NRI_PLUGIN_SOCKET"]),
  readable: true,
  writable: true,
});
const names = Object.keys(process.env).sort().join(",");
process.stdout.write(`started in ${process.cwd()} with ${names}\n`);
const plugin = new TestPlugin(socket, {
  answers: {
    configure: ({ config }) => {
      process.stderr.write(`config ${config}\n`);
      // The process ignores the end of its connection and SIGTERM.
      if (config === "stubborn") {
        process.on("SIGTERM", () => undefined);
        setTimeout(() => undefined, 600_000);
      }
      return {};
    },
    runPodSandbox: () => process.exit(3),
  },
});
await plugin.register({
  name: process.env["NRI_PLUGIN_NAME"] ?? "",
  index: process.env["NRI_PLUGIN_IDX"] ?? "",
});
