// A process for tests to kill: adds a pod by the built-in network when a line comes on standard input.
// Arguments: the network as JSON, then id and path of the namespace.
import { once } from "node:events";
import { parseNetworkList } from "../../conflist.ts";
import { BuiltinRunner } from "../runner.ts";

const [text = "", sandboxId = "", netnsPath = ""] = process.argv.slice(2);
const list = parseNetworkList(text);
const [plugin] = list.plugins;
const args = { cniArgs: "", capabilityArgs: {} };
const target = { sandboxId, netnsPath, ifName: "eth0", args };
const runner = new BuiltinRunner({ timeoutMs: 60_000 });
process.stdout.write("ready\n");
await once(process.stdin, "data");
if (plugin === undefined) throw new Error("the network has no plugin");
await runner.run({ command: "ADD", list, plugin, target, signal: new AbortController().signal });
process.stdout.write("added\n");
process.stdin.destroy();
