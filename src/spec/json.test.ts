import assert from "node:assert/strict";
import { test } from "node:test";
import { isKind } from "../base/errors.ts";
import { containerSpec } from "./generate.ts";
import { specText } from "./json.ts";
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

test("specText() takes the text that JSON writes a NUL with", () => {
  const args = ["printf", "\\u0000"];
  const text = specText({ ...spec, process: { ...spec.process, args } });
  assert.deepEqual((JSON.parse(text) as typeof spec).process.args, args);
});
