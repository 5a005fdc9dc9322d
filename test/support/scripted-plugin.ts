/**
 * A CNI plugin that follows a script: the program of `ScriptedPlugin` in cni.ts.
 *
 *   scripted-plugin.ts DIRECTORY
 *
 * Each call is recorded as DIRECTORY/calls/TIME-PID.json; DIRECTORY/script.json says what each command does. A
 * command that it does not name succeeds: ADD prints `prevResult` or an invented address, VERSION prints all
 * versions, the others print nothing.
 */
import { spawn } from "node:child_process";
import { existsSync, readFileSync, renameSync, writeFileSync } from "node:fs";
import path from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import type { PluginBehaviour, PluginCall, PluginScript } from "./cni.ts";

const [directory = ""] = process.argv.slice(2);
const stdin = readFileSync(0, "utf8");
const command = process.env["CNI_COMMAND"] ?? "";

record();
await behave(readScript()[command] ?? { does: "succeed" });

/** Writes a call atomically: a reader never sees a part of it. */
function record(): void {
  const cniEnv = Object.entries(process.env).filter(([name]) => name.startsWith("CNI_"));
  const env = Object.fromEntries(cniEnv.map(([name, value]) => [name, value ?? ""]));
  const call: PluginCall = { command, env, stdin, pid: process.pid, config: parse(stdin) };
  // Microseconds with a fixed width, so that the names sort as the calls came.
  const time = Math.round((performance.timeOrigin + performance.now()) * 1000);
  const file = path.join(directory, "calls", `${time}-${process.pid}.json`);
  writeFileSync(`${file}.tmp`, JSON.stringify(call));
  renameSync(`${file}.tmp`, file);
}

function readScript(): PluginScript {
  const file = path.join(directory, "script.json");
  return existsSync(file) ? (JSON.parse(readFileSync(file, "utf8")) as PluginScript) : {};
}

async function behave(behaviour: PluginBehaviour): Promise<void> {
  switch (behaviour.does) {
    case "succeed": {
      const result = behaviour.result ?? defaultResult();
      if (result !== undefined) process.stdout.write(JSON.stringify(result));
      return;
    }
    case "fail":
      process.stdout.write(JSON.stringify({ cniVersion: version(), ...behaviour.error }));
      process.exitCode = 1;
      return;
    case "print":
      process.stdout.write(behaviour.stdout);
      process.stderr.write(behaviour.stderr ?? "");
      process.exitCode = behaviour.exitCode;
      return;
    case "die":
      process.kill(process.pid, "SIGKILL");
      return;
    case "hang":
      // Held open by a grandchild, the pipe does not end with the plugin that is killed.
      if (behaviour.withGrandchild === true) spawn("sleep", ["1000"], { stdio: "inherit" });
      await sleep(1_000_000);
      return;
    case "wait":
      // Then the script that is current at that time decides.
      while (existsSync(path.join(directory, behaviour.file))) await sleep(10);
      return behave(behaviour.then ?? { does: "succeed" });
  }
}

function defaultResult(): object | undefined {
  if (command === "VERSION") {
    return { cniVersion: version(), supportedVersions: ["0.4.0", "1.0.0", "1.1.0"] };
  }
  if (command !== "ADD") return undefined;
  const { prevResult } = parse(stdin);
  if (typeof prevResult === "object" && prevResult !== null) return prevResult;
  const { CNI_IFNAME: name, CNI_NETNS: sandbox } = process.env;
  return {
    cniVersion: version(),
    interfaces: [{ name, mac: "02:00:00:00:00:01", sandbox }],
    ips: [{ address: "10.93.0.2/24", gateway: "10.93.0.1", interface: 0 }],
    routes: [{ dst: "0.0.0.0/0" }],
    dns: {},
  };
}

function version(): unknown {
  return parse(stdin)["cniVersion"] ?? "1.0.0";
}

function parse(text: string): Readonly<Record<string, unknown>> {
  return text === "" ? {} : (JSON.parse(text) as Readonly<Record<string, unknown>>);
}
