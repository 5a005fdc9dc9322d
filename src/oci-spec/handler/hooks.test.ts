import assert from "node:assert/strict";
import { test } from "node:test";
import { isKind } from "../../base/errors.ts";
import { containerSpec } from "../generate.ts";
import { parseHook } from "./hooks.ts";
import type { OciHooks } from "../../core/oci/index.ts";
import { specInput } from "../testing/spec-input.ts";

const file = (when: object, more: object = {}): string =>
  JSON.stringify({
    version: "1.0.0",
    hook: { path: "/usr/bin/hook" },
    stages: ["prestart"],
    when,
    ...more,
  });

/** The hooks of a container that runs `/bin/sh`, with a mount and an annotation of pod and container each. */
function hooksOf(...files: readonly string[]): OciHooks | undefined {
  const input = specInput(
    {
      command: ["/bin/sh"],
      annotations: { "example.org/of-container": "yes" },
      mounts: [{ hostPath: "/a", containerPath: "/a" }],
    },
    { mountSources: ["/a"], hooks: files.map((text, at) => parseHook(text, `${at}.json`)) },
  );
  input.sandbox.config.annotations["example.org/of-pod"] = "no";
  return containerSpec(input).hooks;
}

const hook = { path: "/usr/bin/hook" };

test("a hook is for the containers that its conditions hold for, all of them", () => {
  const cases: readonly (readonly [object, boolean])[] = [
    [{ always: true }, true],
    [{ always: false }, false],
    [{}, false],
    [{ hasBindMounts: true }, true],
    [{ hasBindMounts: false }, false],
    [{ commands: ["sh$"] }, true],
    [{ commands: ["^bash", "^/bin/"] }, true],
    [{ commands: ["^sh"] }, false],
    [{ annotations: { "of-container$": "^yes$" } }, true],
    [{ annotations: { "of-pod$": "^n" } }, true],
    [{ annotations: { "of-pod$": "^y" } }, false],
    [{ annotations: { "of-.*": "^yes$" } }, true],
    [{ annotations: { "of-pod$": "^n" }, commands: ["^sh"] }, false],
    [{ always: true, annotations: { other: "." } }, false],
  ];
  for (const [when, is] of cases) {
    const want = is ? { prestart: [hook] } : undefined;
    assert.deepEqual(hooksOf(file(when)), want, JSON.stringify(when));
  }
});

test("hooks run in the order of their files, at each of their stages, unchanged", () => {
  const second = { path: "/b", args: ["b", "-x"], env: ["A=1"], timeout: 5 };
  assert.deepEqual(
    hooksOf(
      file({ always: true }, { stages: ["createRuntime", "poststop"] }),
      file({ always: true }, { hook: second, stages: ["poststop"] }),
    ),
    { createRuntime: [hook], poststop: [hook, second] },
  );
});

test("patterns that backtrack without end are given up, naming their file", () => {
  const endless = file({ annotations: { "of-pod$": "^(a+)+$" } });
  const input = specInput({}, { hooks: [parseHook(endless, "/hooks/slow.json")] });
  input.sandbox.config.annotations["example.org/of-pod"] = `${"a".repeat(50)}!`;
  assert.throws(
    () => containerSpec(input),
    (error) =>
      isKind(error, "failed-precondition") && String(error).includes('OCI hook "/hooks/slow.json"'),
  );
});

test("parseHook() refuses what it cannot carry out, naming the file", () => {
  const bad: readonly (readonly [string, RegExp])[] = [
    ["{", /JSON/],
    ["[]", /not a JSON object/],
    [file({}, { version: "0.1.0" }), /version must be "1.0.0", got "0.1.0"/],
    [file({}, { hook: { path: "hook" } }), /hook.path must be an absolute path/],
    [file({}, { hook: { path: "/a", args: "x" } }), /hook.args/],
    [file({}, { hook: { path: "/a", timeout: 0 } }), /hook.timeout/],
    [file({}, { stages: ["precreate"] }), /"precreate" must be one of prestart/],
    [file({}, { stages: [] }), /one or more/],
    [file({}, { when: undefined }), /when must be an object/],
    [file({ always: "yes" }), /when.always/],
    [file({ commands: ["("] }), /regular expression/],
    [file({ annotations: { a: 1 } }), /annotations/],
  ];
  for (const [text, why] of bad) {
    assert.throws(
      () => parseHook(text, "/hooks/1.json"),
      (error) =>
        isKind(error, "failed-precondition") &&
        why.test(String(error)) &&
        String(error).includes('"/hooks/1.json"'),
      text,
    );
  }
});
