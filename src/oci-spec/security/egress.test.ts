import assert from "node:assert/strict";
import { describe, test } from "node:test";
import type { OciCapabilities } from "../../core/oci/index.ts";
import { containerSpec } from "../generate.ts";
import { containerConfig, podConfig, specInput, testHost } from "../testing/spec-input.ts";
import { checkContainerConfig } from "../validate.ts";
import { defaultCapabilities } from "./capabilities.ts";
import { checkEgressSpec } from "./egress.ts";

const pod = podConfig({ annotations: { "davit.egress": "dns" } });
const asking = (capabilities: object, privileged = false) =>
  containerConfig({ linux: { securityContext: { capabilities, privileged } } });

describe("a container of a pod whose egress is limited", () => {
  test("has the default capabilities except NET_RAW, in all its sets", () => {
    const specOf = (annotations: Record<string, string>) => {
      const input = specInput();
      const config = Object.assign(input.sandbox.config, { annotations });
      return containerSpec({ ...input, sandbox: { ...input.sandbox, config } });
    };
    assert.deepEqual(specOf({}).process.capabilities.bounding, defaultCapabilities);
    const limited = Object.values(specOf({ "davit.egress": "none" }).process.capabilities);
    assert.equal(limited.length, 3);
    for (const set of limited) {
      assert.deepEqual(
        set,
        defaultCapabilities.filter((name) => name !== "CAP_NET_RAW"),
      );
    }
  });

  for (const name of ["NET_ADMIN", "CAP_NET_RAW", "sys_admin", "all", "SYS_PTRACE", "BPF"]) {
    test(`cannot add ${name}`, () => {
      const kind = "invalid-argument";
      const message = /capability CAP_\w+ is added.*davit\.egress/;
      for (const field of ["addCapabilities", "addAmbientCapabilities"]) {
        const config = asking({ [field]: ["SYS_TIME", name] });
        assert.throws(() => checkContainerConfig(config, pod, testHost), { kind, message });
        checkContainerConfig(config, podConfig(), testHost);
      }
    });
  }

  test("can add other capabilities, and what it drops", () => {
    checkContainerConfig(asking({ addCapabilities: ["SYS_TIME", "IPC_LOCK"] }), pod, testHost);
    const both = { addCapabilities: ["NET_ADMIN"], dropCapabilities: ["net_admin"] };
    checkContainerConfig(asking(both), pod, testHost);
  });

  test("cannot be privileged", () => {
    const privileged = podConfig({
      annotations: { "davit.egress": "dns" },
      linux: { securityContext: { privileged: true } },
    });
    const check = () => checkContainerConfig(asking({}, true), privileged, testHost);
    assert.throws(check, { kind: "invalid-argument", message: /privileged is set/ });
  });

  test("gets no such capability from plugins, CDI files or the handler", () => {
    const spec = containerSpec(specInput());
    const withOne = (set: keyof OciCapabilities) => ({
      ...spec,
      process: { ...spec.process, capabilities: { bounding: [], [set]: ["CAP_NET_ADMIN"] } },
    });
    for (const set of ["bounding", "effective", "permitted", "inheritable", "ambient"] as const) {
      const changed = withOne(set) as unknown as typeof spec;
      assert.throws(() => checkEgressSpec(changed, pod), { message: /CAP_NET_ADMIN.*by the node/ });
      assert.equal(checkEgressSpec(changed, podConfig()), changed);
    }
  });
});
