import assert from "node:assert/strict";
import { afterEach, beforeEach, describe, test } from "node:test";
import { RuntimeError } from "../../base/errors.ts";
import { silentLogger } from "../../base/logger.ts";
import { TaskGroup } from "../../base/task-group.ts";
import type { Attachment, PodNetwork } from "../../core/network/index.ts";
import type { RecordTable } from "../../core/store/index.ts";
import { Attachments } from "./attachments.ts";
import { collectGarbage } from "./collect.ts";
import { NetworkTeardown, type TeardownPatience } from "./teardown.ts";

const never = new AbortController().signal;
const patience: TeardownPatience = { tries: 3, totalMs: 1000, firstPauseMs: 1, maxPauseMs: 4 };

let nowMs: number;
let rows: Map<string, Attachment>;
let attachments: Attachments;
let tasks: TaskGroup;
let teardown: NetworkTeardown;
/** Sandboxes whose removal was tried, in order. */
let tried: string[];
let collected: string[][];
let behave: (sandboxId: string) => Promise<void>;
let waiting: (() => void)[];

const network: PodNetwork = {
  add: () => assert.fail("not here"),
  remove: ({ sandboxId }) => {
    tried.push(sandboxId);
    for (const wake of waiting.splice(0)) wake();
    return behave(sandboxId);
  },
  collect: (valid) => {
    collected.push(valid().map(({ sandboxId }) => sandboxId));
    for (const wake of waiting.splice(0)) wake();
    return Promise.resolve();
  },
  setPodCidr: () => undefined,
  status: () => ({ ready: true }),
  describe: () => ({}),
};

/** Waits for something that happens in the background. */
async function until(what: () => boolean): Promise<void> {
  while (!what()) await new Promise<void>((resolve) => waiting.push(resolve));
}

function attach(sandboxId: string): void {
  attachments.put({
    sandboxId,
    ifName: "eth0",
    netnsPath: "",
    conflist: "",
    args: "",
    result: undefined,
    bootId: "",
    removal: undefined,
  });
}

function open(): void {
  const records: RecordTable<Attachment> = {
    load: () => [...rows.values()],
    put: (attachment) => void rows.set(attachment.sandboxId, attachment),
    delete: (id) => void rows.delete(id),
  };
  const settled = (): Promise<void> => Promise.resolve();
  attachments = new Attachments(records, { load: () => [], note: settled, delete: settled });
  attachments.load();
  tasks = new TaskGroup(silentLogger);
  const clock = { nowMs: () => nowMs, nowNs: () => 0n };
  teardown = new NetworkTeardown({
    network,
    attachments,
    tasks,
    clock,
    log: silentLogger,
    patience,
  });
}

async function close(): Promise<void> {
  teardown[Symbol.dispose]();
  await tasks[Symbol.asyncDispose]();
}

const broken = (): Promise<void> => Promise.reject(new RuntimeError("unavailable", "broken"));
const works = (): Promise<void> => Promise.resolve();
const fails = { kind: "unavailable", message: /broken/ };

beforeEach(() => {
  nowMs = 0;
  rows = new Map();
  tried = [];
  collected = [];
  waiting = [];
  behave = works;
  open();
});
afterEach(() => close());

describe("NetworkTeardown", () => {
  test("reports two failures, and queues the third one until it works", async () => {
    attach("a");
    behave = broken;
    await assert.rejects(teardown.remove("a", never), fails);
    await assert.rejects(teardown.remove("a", never), fails);
    assert.equal(teardown.pending()[0]?.tries, 2);
    await teardown.remove("a", never);
    await until(() => tried.length >= 6);
    assert.equal(teardown.pending()[0]?.lastError, "broken");
    // Nobody waits for it any more.
    await teardown.remove("a", never);
    behave = works;
    await teardown.untilEmpty(never);
    assert.deepEqual([teardown.pending(), rows.size], [[], 0]);
  });

  test("reports no failure later than five minutes (here a second) after the first", async () => {
    attach("a");
    behave = broken;
    await assert.rejects(teardown.remove("a", never), fails);
    nowMs = patience.totalMs;
    await teardown.remove("a", never);
    assert.equal(rows.get("a")?.removal?.queued, true);
  });

  test("continues only the queued removals after a restart", async () => {
    attach("a");
    attach("b");
    attach("c");
    behave = broken;
    teardown.enqueue("a");
    await assert.rejects(teardown.remove("b", never), fails);
    await close();
    open();
    behave = works;
    tried = [];
    teardown.resume();
    await teardown.untilEmpty(never);
    assert.deepEqual(tried, ["a"]);
    assert.deepEqual([...rows.keys()], ["b", "c"]);
    assert.equal(rows.get("b")?.removal?.tries, 1);
  });

  test("tries the others without waiting for one that fails", async () => {
    attach("bad");
    attach("good");
    behave = (id) => (id === "bad" ? broken() : works());
    teardown.enqueue("bad");
    teardown.enqueue("good");
    await until(() => tried.includes("good") && tried.filter((id) => id === "bad").length > 2);
    assert.deepEqual([...rows.keys()], ["bad"]);
  });
});

describe("NetworkTeardown on a full disk", () => {
  test("continues with the queue though no try can be recorded", async () => {
    attach("a");
    behave = broken;
    teardown.enqueue("a");
    const put = rows.set.bind(rows);
    rows.set = () => {
      throw new Error("disk full");
    };
    await until(() => tried.length >= 3);
    assert.equal(teardown.pending()[0]?.tries, 0);
    rows.set = put;
    behave = works;
    await teardown.untilEmpty(never);
    assert.equal(rows.size, 0);
  });
});

describe("collectGarbage()", () => {
  const collect = (): void => {
    collectGarbage({ networks: [network], attachments, teardown, tasks, log: silentLogger });
  };

  test("waits for pending removals, and passes the attachments of that moment", async () => {
    attach("pending");
    attach("alive");
    const gate = Promise.withResolvers<undefined>();
    behave = () => gate.promise;
    teardown.enqueue("pending");
    collect();
    await until(() => tried.length === 1);
    attach("new");
    assert.deepEqual(collected, []);
    gate.resolve(undefined);
    await until(() => collected.length === 1);
    assert.deepEqual(collected, [["alive", "new"]]);
  });

  test("continues with the next network when one fails, and logs it", async () => {
    attach("alive");
    const lines: string[] = [];
    const log = { ...silentLogger, warn: (line: string) => void lines.push(line) };
    const broke = { ...network, collect: () => Promise.reject(new Error("GC broke")) };
    collectGarbage({ networks: [broke, network], attachments, teardown, tasks, log });
    await until(() => collected.length === 1);
    assert.equal(lines.length, 1);
    assert.match(lines[0] ?? "", /failed to collect garbage of a pod network/);
  });

  test("collects nothing when this daemon has no attachments", async () => {
    collect();
    await teardown.untilEmpty(never);
    await new Promise(setImmediate);
    assert.deepEqual(collected, []);
  });
});
