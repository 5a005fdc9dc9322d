/**
 * The NRI plugin of the bench, a process of its own as on a node: it subscribes to CreateContainer and answers at once.
 * `measured-plugin.ts` starts it and says when it connects.
 */
import process from "node:process";
import { adjust, type NriPlugin, plugin } from "../src/nri/index.ts";
import type { Order } from "./measured-plugin.ts";

const [socket = ""] = process.argv.slice(2);
let connected: NriPlugin | undefined;

process.on("message", (order: Order) => {
  connected?.close();
  connected = undefined;
  if (order === "disconnect") return;
  connected = plugin({
    name: "bench",
    index: 50,
    createContainer: () => (order === "adjust" ? adjust().env("BENCH", "1") : undefined),
  });
  void connected.connect(socket);
});
process.on("disconnect", () => process.exit());
