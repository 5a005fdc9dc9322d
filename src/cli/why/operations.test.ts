import assert from "node:assert/strict";
import { test } from "node:test";
import {
  type PastOperation,
  phasesOf,
  readHistory,
  readInflight,
} from "../../client/operations.ts";
import { formatInflight, formatWaterfall } from "./waterfall.ts";

const run: PastOperation = {
  operation: "run-pod-sandbox",
  subject: "web_default_u_0",
  startedMs: 1_000,
  tookMs: 32,
  error: undefined,
  stages: [
    { stage: "write-record", atMs: 0, detail: undefined },
    { stage: "pin-namespaces", atMs: 0, detail: undefined },
    { stage: "add-network", atMs: 2, detail: undefined },
    { stage: "network-plugin-done", atMs: 18, detail: "bridge" },
    { stage: "network-plugin-done", atMs: 30, detail: "portmap" },
    { stage: "network-added", atMs: 30, detail: undefined },
    { stage: "finish-record", atMs: 30, detail: undefined },
    { stage: "answer", atMs: 32, detail: undefined },
  ],
};

const plain = (text: string): string => text;
const style = { bold: plain, dim: plain, red: plain, green: plain, yellow: plain, inverse: plain };

test("phasesOf() computes the time of each stage and plugin", () => {
  assert.deepEqual(phasesOf(run), [
    { name: "write record", fromMs: 0, toMs: 0 },
    { name: "pin namespaces", fromMs: 0, toMs: 2 },
    { name: "network plugin bridge", fromMs: 2, toMs: 18 },
    { name: "network plugin portmap", fromMs: 18, toMs: 30 },
    { name: "finish record", fromMs: 30, toMs: 32 },
  ]);
});

test("formatWaterfall() draws the phases on a common axis", () => {
  assert.equal(
    formatWaterfall(run, 6_000, style),
    [
      "run pod sandbox  32 ms, 5.0 s ago",
      "  write record               <1 ms  |",
      "  pin namespaces              2 ms  ##",
      "  network plugin bridge      16 ms    ################",
      "  network plugin portmap     12 ms                    ############",
      "  finish record               2 ms                                ##",
      "",
    ].join("\n"),
  );
});

test("formatWaterfall() shows why and in which phase an operation failed", () => {
  const red = (text: string): string => `<${text}>`;
  const [stage] = run.stages;
  assert.ok(stage !== undefined);
  const failed = { ...run, stages: [stage], error: "run pod sandbox: no room" };
  const text = formatWaterfall(failed, 1_500, { ...style, red });
  assert.match(text, /^run pod sandbox {2}32 ms, 500 ms ago, <failed>\n/);
  assert.match(text, /write record +32 ms {2}<#{32}>\n {2}run pod sandbox: no room\n$/);
});

test("formatWaterfall() and formatInflight() print no control characters of an image", () => {
  const hostile = "\n\u001b]52;c;eA==\u0007\u009b2J";
  const failed = {
    ...run,
    operation: `run${hostile}`,
    stages: [{ stage: `stage${hostile}`, atMs: 0, detail: undefined }],
    error: `resolve user "a${hostile}\nrun pod sandbox  1 ms"`,
  };
  const text = formatWaterfall(failed, 1_500, style);
  assert.doesNotMatch(text, /(?!\n)[\u0000-\u001f\u007f-\u009f]/);
  assert.match(text, /^run\?\?]52;c;eA==\?\?2J {2}32 ms/);
  assert.equal(text.split("\n").filter((line) => line.startsWith("run")).length, 1);
  assert.match(
    text,
    /\n {2}resolve user "a\n {6}\?]52;c;eA==\?\?2J\n {6}run pod sandbox {2}1 ms"\n$/,
  );
  const present = { ...failed, error: undefined, detail: `bridge${hostile}` };
  assert.doesNotMatch(formatInflight(present, style), /(?!\n)[\u0000-\u001f\u007f-\u009f]/);
});

test("readHistory() parses the history of davit only", () => {
  const { error: _none, ...told } = run;
  const json = JSON.parse(JSON.stringify([told, 3, { operation: 1 }])) as never;
  assert.deepEqual(readHistory(json), [run]);
  assert.equal(readHistory(undefined), undefined);
  assert.equal(readHistory("history"), undefined);
});

test("formatInflight() draws an operation in progress with its plugin", () => {
  const [present, ...more] = readInflight(
    [
      {
        operation: "run-pod-sandbox",
        subject: "web_default_u_0",
        stage: "add-network",
        detail: "portmap",
        ageMs: 32,
        stageAgeMs: 14,
        stages: run.stages.slice(2, 4),
      },
      { operation: "run-pod-sandbox" },
    ] as never,
    1_032,
  );
  assert.ok(present !== undefined);
  assert.deepEqual([present.subject, present.startedMs, more], ["web_default_u_0", 1_000, []]);
  assert.equal(
    formatInflight(present, { ...style, yellow: (text) => `<${text}>` }),
    [
      "run pod sandbox  32 ms so far",
      "  network plugin bridge      16 ms    ################",
      "  network plugin portmap     14 ms  <                  ##############>",
      "",
    ].join("\n"),
  );
  assert.deepEqual(readInflight(undefined, 0), []);
});
