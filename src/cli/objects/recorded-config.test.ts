import assert from "node:assert/strict";
import { test } from "node:test";
import { create, type JsonValue, toJson } from "@bufbuild/protobuf";
import { CommandFailure, exitCode } from "../command-line/exit-code.ts";
import {
  ContainerConfigSchema,
  LinuxContainerResourcesSchema,
  PodSandboxSchema,
} from "../../gen/runtime/v1/api_pb.ts";
import { nextAttempt } from "../restart/again.ts";
import { containerConfigOf, isOfKubelet, isPodOfKubelet } from "./recorded-config.ts";

// As davit and containerd report it: protocol names, numbers for enums and 64-bit fields, variables as text.
const reported: JsonValue = {
  metadata: { name: "web", attempt: 2 },
  image: { image: "sha256:1", user_specified_image: "web:1" },
  command: ["/bin/sh"],
  envs: [{ key: "A", value: "ä=1" }, { key: "EMPTY" }],
  mounts: [{ container_path: "/d", host_path: "/h", readonly: true, propagation: 2 }],
  labels: { app: "web" },
  log_path: "web/2.log",
  linux: {
    resources: {
      cpu_period: 100_000,
      memory_limit_in_bytes: 67_108_864,
      unified: { "pids.max": "9" },
    },
    security_context: { run_as_user: { value: 1000 }, seccomp: { profile_type: 1 } },
  },
};

const failure = (pattern: RegExp) => (error: Error) =>
  error instanceof CommandFailure &&
  error.exitCode === exitCode.unsupported &&
  pattern.test(error.message);

test("containerConfigOf() reads all fields of Go's JSON", () => {
  const config = containerConfigOf("start x", { config: reported });
  assert.deepEqual(toJson(ContainerConfigSchema, config), {
    metadata: { name: "web", attempt: 2 },
    image: { image: "sha256:1", userSpecifiedImage: "web:1" },
    command: ["/bin/sh"],
    envs: [{ key: "A", value: Buffer.from("ä=1").toString("base64") }, { key: "EMPTY" }],
    mounts: [
      {
        containerPath: "/d",
        hostPath: "/h",
        readonly: true,
        propagation: "PROPAGATION_BIDIRECTIONAL",
      },
    ],
    labels: { app: "web" },
    logPath: "web/2.log",
    linux: {
      resources: {
        cpuPeriod: "100000",
        memoryLimitInBytes: "67108864",
        unified: { "pids.max": "9" },
      },
      securityContext: { runAsUser: { value: "1000" }, seccomp: { profileType: "Unconfined" } },
    },
  });
});

test("containerConfigOf() refuses what it cannot restore without a loss", () => {
  const read = (info: JsonValue | undefined) => () => containerConfigOf('start "x"', info);
  assert.throws(read(undefined), failure(/^start "x": the server does not report its config; use/));
  assert.throws(read({ config: "text" }), failure(/does not report/));
  assert.throws(read({ config: { new_field: 1 } }), failure(/that this command does not know/));
  const binary = { config: { envs: [{ key: "B", value: "\ufffd" }] } };
  assert.throws(read(binary), failure(/its variable "B" is not UTF-8/));
  const large = { config: { linux: { resources: { cpu_shares: 2 ** 53 } } } };
  assert.throws(read(large), failure(/above 2\^53/));
});

test("nextAttempt() follows the last attempt, with its own log and the current limits", () => {
  const config = containerConfigOf("start", { config: reported });
  const resources = create(LinuxContainerResourcesSchema, { cpuShares: 7n });
  const next = nextAttempt(config, { last: 4, resources });
  assert.deepEqual([next.metadata?.attempt, next.logPath], [5, "web/5.log"]);
  assert.deepEqual(next.linux, { ...config.linux, resources });
  assert.deepEqual([config.metadata?.attempt, config.logPath], [2, "web/2.log"], "unchanged");
  const other = nextAttempt({ ...config, logPath: "all.log" }, { last: 2, resources: undefined });
  assert.deepEqual([other.logPath, other.linux?.resources], ["all.log", config.linux?.resources]);
});

test("isOfKubelet() knows the pods and containers of kubelet", () => {
  const pod = (annotations: Record<string, string>) => create(PodSandboxSchema, { annotations });
  assert.equal(isPodOfKubelet(pod({ "kubernetes.io/config.source": "api" })), true);
  assert.equal(isPodOfKubelet(pod({ mine: "1" })), false);
  const container = { annotations: { "io.kubernetes.container.hash": "1" } };
  assert.equal(isOfKubelet({ container, pod: undefined } as never), true);
});
