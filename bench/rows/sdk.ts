/**
 * What a program waits for that runs code in a box: the SDK beside containerd's own client, `ctr`. The box of davit is an
 * isolated pod with limits; that of `ctr` is a container without a network and without limits.
 */
import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { setTimeout as sleep } from "node:timers/promises";
import { promisify } from "node:util";
import { Davit, type Pod } from "../../src/sdk/index.ts";
import { withBusybox } from "../images.ts";
import { alternate, type Bench, type Row, type RowGroup, Samples, type Side } from "../row.ts";
import { timed } from "../statistics.ts";

const restMs = 50;
const warmRounds = 2;
const execs = 5;
const busybox = "/bin/busybox";
/** The most that a box may take after its image is there, and what exec may take of ExecSync's time. */
const [boxBudgetMs, execBudget] = [60, 1.5];

type What = "connect" | "box" | "run" | "exec" | "sync" | "remove";

export const sdk: RowGroup = {
  name: "sdk",
  measure: (bench) => withBusybox(bench, (image) => measure(bench, image)),
};

async function measure(bench: Bench, image: string): Promise<readonly Row[]> {
  const samples = new Samples<What>();
  const warm = new Samples<What>();
  const round = (side: Side, into: Samples<What>): Promise<void> =>
    side.server.name === "containerd" ? ofCtr(side, image, into) : ofDavit(side, image, into);
  await alternate(bench, warmRounds, (side) => round(side, warm));
  await alternate(bench, bench.rounds, (side) => round(side, samples));
  const row = (title: string, name: What, more: Partial<Row> = {}): Row => ({
    title: `SDK: ${title}`,
    unit: "ms",
    ...samples.of(bench, name),
    ...more,
  });
  const ofCalls = samples.of(bench, "exec").davit;
  const ofSync = samples.of(bench, "sync").davit;
  return [
    row("connect", "connect"),
    row("run an isolated box", "box", {
      budget: { of: "p50", atMost: boxBudgetMs },
      note: "peer: `ctr run --detach`",
    }),
    row("run a pod with an address", "run"),
    row("exec in a box", "exec", { note: "peer: `ctr task exec`" }),
    {
      title: "SDK: exec (davit), ExecSync (peer), of the same davit",
      unit: "ms",
      peer: ofSync,
      davit: ofCalls,
      budget: { of: "ratio", atMost: execBudget },
    },
    row("remove a box", "remove", { note: "peer: `ctr task rm --force` and `ctr container rm`" }),
  ];
}

async function ofDavit(side: Side, image: string, samples: Samples<What>): Promise<void> {
  const add = async (name: What, work: () => Promise<unknown>): Promise<void> => {
    samples.add(side, name, await timed(work));
  };
  const command = [busybox, "sleep", "1000"];
  let davit: Davit | undefined;
  await add("connect", async () => {
    davit = await Davit.connect({ endpoint: side.server.socket });
  });
  assert.ok(davit !== undefined);
  await using connected = davit;
  await sleep(restMs);
  let box: Pod | undefined;
  await add("box", async () => {
    box = await connected.run(image, {
      command,
      network: "none",
      memory: "64Mi",
      cpus: 1,
      pids: 64,
      capabilities: { drop: ["ALL"] },
      noNewPrivileges: true,
      graceSeconds: 0,
    });
  });
  assert.ok(box !== undefined);
  const { id: containerId } = await box.container();
  for (let count = 0; count < execs; count++) {
    await sleep(restMs);
    const cmd = [busybox, "true"];
    await add("exec", () => (box as Pod).exec(cmd));
    // The first command after a rest waits for the kernel, which moves a process between cgroups of v1.
    await sleep(restMs);
    await add("sync", () => side.server.client.runtime.execSync({ containerId, cmd }));
  }
  await sleep(restMs);
  await add("remove", () => (box as Pod).remove({ graceSeconds: 0 }));
  await sleep(restMs);
  let pod: Pod | undefined;
  await add("run", async () => {
    pod = await connected.run(image, { command, graceSeconds: 0 });
  });
  await pod?.remove({ graceSeconds: 0 });
}

const run = promisify(execFile);
let boxes = 0;

/** A container of containerd, by its own client. */
async function ofCtr(side: Side, image: string, samples: Samples<What>): Promise<void> {
  const ctr = (...words: string[]): Promise<unknown> =>
    run("ctr", ["--address", side.server.socket, "--namespace", "k8s.io", ...words]);
  const add = async (name: What, work: () => Promise<unknown>): Promise<void> => {
    samples.add(side, name, await timed(work));
  };
  boxes += 1;
  const id = `box-${boxes}`;
  await add("box", () => ctr("run", "--detach", image, id, busybox, "sleep", "1000"));
  for (let count = 0; count < execs; count++) {
    await sleep(restMs);
    await add("exec", () => ctr("task", "exec", "--exec-id", `e${count}`, id, busybox, "true"));
  }
  await sleep(restMs);
  await add("remove", async () => {
    await ctr("task", "rm", "--force", id);
    await ctr("container", "rm", id);
  });
}
