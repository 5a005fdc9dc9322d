import assert from "node:assert/strict";
import { test } from "node:test";
import { RuntimeError } from "../../../base/errors.ts";
import { type Addition, Iptables, type RunProgram } from "./iptables.ts";
import { PortmapPlugin } from "./portmap.ts";

const { signal } = new AbortController();

interface Call {
  readonly file: string;
  readonly lines: readonly string[];
}

/** iptables as a test plays it: `answer` says how a call ends. */
function played(answer: (call: Call, at: number) => { code?: number; stdout?: string }): {
  readonly calls: Call[];
  readonly run: RunProgram;
} {
  const calls: Call[] = [];
  const run: RunProgram = ({ file, input = "" }) => {
    const call = { file, lines: input.split("\n").slice(1, -2) };
    calls.push(call);
    const { code = 0, stdout = "" } = answer(call, calls.length - 1);
    return Promise.resolve({ code, stdout, stderr: code === 0 ? "" : "line 2\nfailed" });
  };
  return { calls, run };
}

const addition: Addition = {
  family: 4,
  table: "nat",
  sharedChains: ["SHARED"],
  shared: [{ chain: "OUTPUT", args: ["-j", "SHARED"], first: true }],
  chain: "OWN",
  rules: [
    { chain: "OWN", args: ["-j", "ACCEPT"] },
    { chain: "SHARED", args: ["-j", "OWN"] },
  ],
};
const tables = "*nat\n:OUTPUT ACCEPT [0:0]\nCOMMIT\n";

test("adds by one process when what is shared is there", async () => {
  const { calls, run } = played(() => ({}));
  await new Iptables(run).add("add", addition, signal);
  assert.deepEqual(calls, [
    {
      file: "iptables-restore",
      lines: ["-C OUTPUT -j SHARED", "-N OWN", "-A OWN -j ACCEPT", "-A SHARED -j OWN"],
    },
  ]);
});

test("reads when it is not, and makes what is missing at once", async () => {
  const { calls, run } = played((_, at) => (at === 0 ? { code: 1 } : { stdout: tables }));
  await new Iptables(run).add("add", addition, signal);
  assert.deepEqual(calls.slice(1), [
    { file: "iptables-save", lines: [] },
    {
      file: "iptables-restore",
      lines: ["-N SHARED", "-N OWN", "-I OUTPUT -j SHARED", "-A OWN -j ACCEPT", "-A SHARED -j OWN"],
    },
  ]);
});

test("asks iptables itself which rules are there", async () => {
  const { calls, run } = played(({ file, lines }) => {
    if (file === "ip6tables-save") return { stdout: `${tables}:OWN - [0:0]\n:SHARED - [0:0]\n` };
    return { code: lines.length > 2 || lines[0] === "-C OWN -j ACCEPT" ? 1 : 0 };
  });
  await new Iptables(run).add("add", { ...addition, family: 6 }, signal);
  assert.deepEqual(calls.at(-1), { file: "ip6tables-restore", lines: ["-A OWN -j ACCEPT"] });
});

test("does not take another failure for a rule that is missing", async () => {
  const { run } = played(({ file }) => {
    if (file === "iptables-save") return { stdout: `${tables}:OWN - [0:0]\n:SHARED - [0:0]\n` };
    return { code: 2 };
  });
  await assert.rejects(new Iptables(run).add("add", addition, signal), { message: /code 2/ });
});

test("reads again when another process was faster", async () => {
  let writes = 0;
  const { run } = played(({ file }) => {
    if (file === "iptables-save") return { stdout: tables };
    return { code: ++writes < 4 ? 4 : 0 };
  });
  await new Iptables(run).add("add", addition, signal);
  assert.equal(writes, 4);
});

test("says what failed, with the program and its words", async () => {
  const { run } = played(({ file }) => ({
    code: file === "iptables-save" ? 0 : 2,
    stdout: tables,
  }));
  await assert.rejects(new Iptables(run).add("add ports", addition, signal), {
    kind: "failed-precondition",
    message: "add ports: iptables-restore exited with code 2: line 2 failed",
  });
  const broken = played(() => ({ code: 3 }));
  await assert.rejects(new Iptables(broken.run).add("add ports", addition, signal), {
    message: /^add ports: iptables-save exited with code 3/,
  });
});

const notInNft = (): Promise<boolean> => Promise.resolve(false);
const removal = {
  family: 4,
  table: "nat",
  chains: ["OWN", "OLD"],
  referring: ["SHARED"],
  recorded: [{ chain: "SHARED", args: ["-j", "OWN"] }],
} as const;

test("removes by one process what the record says", async () => {
  const { calls, run } = played(() => ({}));
  await new Iptables(run, notInNft).remove("remove", removal, signal);
  assert.deepEqual(calls, [
    { file: "iptables-restore", lines: ["-D SHARED -j OWN", "-F OWN", "-X OWN"] },
  ]);
});

test("removes from nftables without a process", async () => {
  const { calls, run } = played(() => ({}));
  const asked: unknown[] = [];
  const iptables = new Iptables(run, (...args) => {
    asked.push(args);
    return Promise.resolve(true);
  });
  await iptables.remove("remove", removal, signal);
  assert.deepEqual(asked, [[{ family: 4, name: "nat" }, "OWN", ["SHARED"]]]);
  assert.deepEqual(calls, []);
  // Without a record, ADD can have made anything.
  const { recorded: _, ...unrecorded } = removal;
  await iptables.remove("remove", unrecorded, signal);
  assert.equal(asked.length, 1);
});

test("asks nftables no more once iptables had to do it, but again if the rules only changed meanwhile", async () => {
  const disturbed = () => Promise.reject(new RuntimeError("unavailable", "it changed"));
  const impossible = () => Promise.reject(new RuntimeError("invalid-argument", "no such protocol"));
  for (const last of [notInNft, impossible]) {
    const answers = [disturbed, last, last];
    let asked = 0;
    const { calls, run } = played(() => ({}));
    const iptables = new Iptables(run, () => answers[asked++]?.() ?? assert.fail());
    for (let n = 0; n < 4; n++) await iptables.remove("remove", removal, signal);
    assert.equal(asked, 2);
    assert.equal(calls.length, 4);
  }
});

test("reads when the rules are others, and leaves those of others", async () => {
  const saved = [
    tables,
    ":OWN - [0:0]\n:SHARED - [0:0]\n:OWN2 - [0:0]\n",
    '-A SHARED -m comment --comment "a b" -j OWN\n-A SHARED -j OWN2\n-A OTHER -j OWN\n',
  ].join("");
  const { calls, run } = played((_, at) => (at === 0 ? { code: 1 } : { stdout: saved }));
  await new Iptables(run, notInNft).remove("remove", removal, signal);
  assert.deepEqual(calls.at(-1)?.lines, [
    '-D SHARED -m comment --comment "a b" -j OWN',
    "-F OWN",
    "-X OWN",
  ]);
});

test("nothing to remove is two reads at most", async () => {
  const { calls, run } = played((_, at) => (at === 0 ? { code: 1 } : { stdout: tables }));
  await new Iptables(run, notInNft).remove("remove", removal, signal);
  assert.deepEqual(
    calls.map(({ file }) => file),
    ["iptables-restore", "iptables-save"],
  );
});

test("a pod without host ports starts no process", async () => {
  const { calls, run } = played(() => ({}));
  const portmap = new PortmapPlugin(new Iptables(run));
  const conf = { name: "pods", type: "portmap", cniVersion: "1.0.0" };
  const call = { containerId: "c1", netns: "/n", ifName: "eth0", conf, signal };
  const result = { cniVersion: "1.0.0", ips: [{ address: "10.0.0.5/24" }] };
  assert.equal(await portmap.add(call, result), result);
  await portmap.del(call, result);
  await portmap.del(call, undefined);
  assert.deepEqual(calls, []);
});

test("an ADD that did not end is removed of both families, of which one may be missing", async () => {
  const { calls, run } = played(({ file }) => ({
    code: file.startsWith("ip6") ? 3 : 0,
    stdout: tables,
  }));
  const portmap = new PortmapPlugin(new Iptables(run));
  const mapping = { hostPort: 80, containerPort: 80, protocol: "tcp" };
  const conf = { name: "pods", runtimeConfig: { portMappings: [mapping] } };
  const call = { containerId: "c1", netns: "", ifName: "eth0", conf, signal };
  await portmap.del(call, undefined);
  assert.deepEqual(
    calls.map(({ file }) => file),
    ["iptables-save", "ip6tables-save"],
  );
  const broken = new PortmapPlugin(new Iptables(played(() => ({ code: 3 })).run));
  await assert.rejects(broken.del(call, undefined), {
    message: /^remove host ports of sandbox "c1"/,
  });
});

test("removes each rule that is there, and does not take another failure for one that is missing", async () => {
  const rules = ["10.0.0.2/32", "10.0.0.3/32"].map((host) => ({
    chain: "CNI-FORWARD",
    args: ["-s", host, "-j", "ACCEPT"],
  }));
  const missing = played((_, at) => (at < 2 ? { code: 1 } : {}));
  await new Iptables(missing.run).removeRules("remove rules", 4, "filter", rules, signal);
  assert.deepEqual(
    missing.calls.map(({ lines }) => lines.length),
    [2, 1, 1],
  );
  const locked = played(() => ({ code: 4 }));
  await assert.rejects(
    new Iptables(locked.run).removeRules("remove rules", 4, "filter", rules, signal),
    /remove rules: iptables-restore exited with code 4: line 2 failed/,
  );
});
