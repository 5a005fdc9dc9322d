import assert from "node:assert/strict";
import { test } from "node:test";
import { isKind } from "../base/errors.ts";
import { containerSpec } from "./generate.ts";
import { processOfText, specText } from "./json.ts";
import { specInput } from "./testing/spec-input.ts";

const spec = containerSpec(specInput({ command: ["/bin/sh"] }));

test("specText() refuses a NUL wherever it is, naming the place", () => {
  const { process } = spec;
  const bad = {
    "process.env.1": { ...spec, process: { ...process, env: ["A=1", "B=a\0b"] } },
    "process.cwd": { ...spec, process: { ...process, cwd: "/a\0" } },
    "hooks.prestart.0.args.0": { ...spec, hooks: { prestart: [{ path: "/a", args: ["\0"] }] } },
    "annotations.a\0": { ...spec, annotations: { "a\0": "" } },
  };
  for (const [place, with0] of Object.entries(bad)) {
    assert.throws(
      () => specText(with0),
      (error) => isKind(error, "invalid-argument") && String(error).includes(`a NUL in ${place}`),
      place,
    );
  }
});

test("specText() writes a process with variables of any bytes, and processOfText() reads it again", () => {
  const process = { ...spec.process, env: ["A=\udcff", "B=\u00e4"] };
  const text = specText({ ...spec, process });
  assert.ok(!text.includes("udcff"));
  assert.deepEqual((JSON.parse(text) as typeof spec).process.env, ["A=ff", "B=\u00e4"]);
  assert.deepEqual(processOfText(text), process);
  assert.equal(specText(process), JSON.stringify((JSON.parse(text) as typeof spec).process));
});

test("specText() takes the text that JSON writes a NUL with", () => {
  const args = ["printf", "\\u0000"];
  const text = specText({ ...spec, process: { ...spec.process, args } });
  assert.deepEqual((JSON.parse(text) as typeof spec).process.args, args);
});
