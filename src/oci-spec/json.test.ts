import assert from "node:assert/strict";
import { test } from "node:test";
import { isKind } from "../base/errors.ts";
import { containerSpec } from "./generate.ts";
import { parseSpec, refuseNul, specText, startedProcess } from "./json.ts";
import { specInput } from "./testing/spec-input.ts";

const spec = containerSpec(specInput({ command: ["/bin/sh"] }));

test("refuseNul() refuses a NUL in any field, and names the field", () => {
  const { process } = spec;
  const bad = {
    "process.env.1": { ...spec, process: { ...process, env: ["A=1", "B=a\0b"] } },
    "process.cwd": { ...spec, process: { ...process, cwd: "/a\0" } },
    "hooks.prestart.0.args.0": { ...spec, hooks: { prestart: [{ path: "/a", args: ["\0"] }] } },
    "annotations.a\0": { ...spec, annotations: { "a\0": "" } },
  };
  for (const [field, with0] of Object.entries(bad)) {
    assert.throws(
      () => refuseNul(with0),
      (error) => isKind(error, "invalid-argument") && String(error).includes(`a NUL in ${field}`),
      field,
    );
  }
});

test("specText() writes variables of any bytes, and startedProcess() restores them", () => {
  const process = { ...spec.process, env: ["A=\udcff", "B=\u00e4"] };
  const text = specText({ ...spec, process });
  assert.ok(!text.includes("udcff"));
  assert.deepEqual((JSON.parse(text) as typeof spec).process.env, ["A=ff", "B=\u00e4"]);
  assert.deepEqual(startedProcess(parseSpec(text)), process);
  assert.equal(specText(process), JSON.stringify((JSON.parse(text) as typeof spec).process));
});

test("refuseNul() accepts the characters of an escaped NUL", () => {
  const args = ["printf", "\\u0000"];
  const escaped = { ...spec, process: { ...spec.process, args } };
  refuseNul(escaped);
  const text = specText(escaped);
  assert.deepEqual((JSON.parse(text) as typeof spec).process.args, args);
});
