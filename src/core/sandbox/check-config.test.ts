import assert from "node:assert/strict";
import { test } from "node:test";
import { create } from "@bufbuild/protobuf";
import { isKind } from "../../base/errors.ts";
import { PodSandboxConfigSchema } from "../../gen/runtime/v1/api_pb.ts";
import { checkSandboxConfig } from "./check-config.ts";

function withHostname(hostname: string): ReturnType<typeof checkSandboxConfig> {
  return checkSandboxConfig(
    create(PodSandboxConfigSchema, { metadata: { name: "pod" }, hostname }),
  );
}

test("a hostname with a final dot is taken as it is, up to the kernel's 64 bytes", () => {
  for (const hostname of ["pod.subdomain.ns.svc.", "pod.", `${"a".repeat(63)}.`]) {
    assert.equal(withHostname(hostname).hostname, hostname);
  }
});

test("what cannot be a hostname is refused", () => {
  const bad = [".", "..", "pod..", ".pod", "-pod", "pod-.", "a b", "pod\n", `${"a".repeat(64)}.`];
  for (const hostname of bad) {
    assert.throws(
      () => withHostname(hostname),
      (error) => isKind(error, "invalid-argument") && /hostname/.test(String(error)),
      JSON.stringify(hostname),
    );
  }
});
