// For tests that hold what davit does by itself beside the plugins, in the network namespace of the test file.
import assert from "node:assert/strict";
import { symlinkSync } from "node:fs";
import path from "node:path";
import { patient } from "../../../../../test/support/patience.ts";
import { run } from "../../../../linux/process/index.ts";
import type { CniResult } from "../../result.ts";
import type { PluginCall } from "../plugin.ts";

const pluginDir = "/usr/lib/cni";

// These replace all rules of their network namespace, which must not be that of the host (test/support/isolate.ts).
assert.ok(process.env["DAVIT_TEST_RUN"], "run it by node test/run.ts, in namespaces of its own");

/** Runs a program to its end, with the PATH that the built-in plugins use, and returns what it printed. */
export async function sh(file: string, args: readonly string[], input = ""): Promise<string> {
  const env = { PATH: process.env["PATH"] ?? "", LC_ALL: "C" };
  const { code, stdout, stderr } = await run({
    file,
    args,
    env,
    input,
    timeoutMs: patient(30_000),
  });
  assert.equal(code, 0, `${file} ${args.join(" ")}: ${stderr.toString()}${stdout.toString()}`);
  return stdout.toString();
}

/** Runs the plugin of a call. Returns its result, after ADD. */
export async function runPlugin(
  command: "ADD" | "DEL",
  { conf, containerId, netns, ifName }: PluginCall,
  previous: CniResult | undefined,
): Promise<CniResult> {
  const input = JSON.stringify({ ...conf, ...(previous && { prevResult: previous }) });
  const env = {
    PATH: process.env["PATH"] ?? "",
    CNI_PATH: pluginDir,
    CNI_COMMAND: command,
    CNI_CONTAINERID: containerId,
    CNI_NETNS: netns,
    CNI_IFNAME: ifName,
  };
  const file = path.join(pluginDir, String(conf["type"]));
  const { code, stdout, stderr } = await run({ file, env, input, timeoutMs: patient(30_000) });
  assert.equal(code, 0, `${file} ${command} ${input}: ${stdout.toString()}${stderr.toString()}`);
  const text = stdout.toString();
  return (text === "" ? { cniVersion: "1.0.0" } : JSON.parse(text)) as CniResult;
}

/** The rules of a table of both families, as the -save programs print them. */
export async function savedRules(table: "nat" | "filter"): Promise<string> {
  const texts = await Promise.all(
    ["iptables-save", "ip6tables-save"].map((program) => sh(program, ["-t", table])),
  );
  // Without the time and the counters of the chains.
  return texts
    .join("\n")
    .replaceAll(/^#.*\n/gm, "")
    .replaceAll(/\[\d+:\d+\]/g, "");
}

const foreign = {
  nat: [
    "*nat",
    ":FOREIGN - [0:0]",
    ":MARK-IT - [0:0]",
    "-A PREROUTING -j FOREIGN",
    "-A FOREIGN -p tcp -m tcp --dport 8080 -j RETURN",
    "-A POSTROUTING -m mark --mark 0x4000/0x4000 -j MASQUERADE",
    "COMMIT",
  ],
  filter: [
    "*filter",
    ":FOREIGN - [0:0]",
    "-A FORWARD -j FOREIGN",
    "-A FOREIGN -p udp -m udp --dport 53 -j ACCEPT",
    "COMMIT",
  ],
};

/** Replaces all rules by those of others on a node: a firewall, a service proxy. Chain MARK-IT is there for portmap. */
export async function resetRules(table: "nat" | "filter"): Promise<void> {
  const input = `${foreign[table].join("\n")}\n`;
  await Promise.all(
    ["iptables-restore", "ip6tables-restore"].map((program) => sh(program, ["--wait"], input)),
  );
}

/** Removes all rules of all tables. */
export async function clearRules(): Promise<void> {
  const input = ["nat", "filter"].map((table) => `*${table}\nCOMMIT\n`).join("");
  for (const program of ["iptables-restore", "ip6tables-restore"])
    await sh(program, ["--wait"], input);
  await sh("nft", ["flush", "ruleset"]);
}

/** A directory for PATH in which iptables has this backend. */
export function iptablesDirectory(directory: string, backend: "nft" | "legacy"): string {
  for (const program of ["iptables", "ip6tables"]) {
    for (const verb of ["", "-save", "-restore"]) {
      const target = `/usr/sbin/xtables-${backend}-multi`;
      symlinkSync(target, path.join(directory, `${program}${verb}`));
    }
  }
  return directory;
}
