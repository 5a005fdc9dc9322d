/** Requests that RunPodSandbox refuses: the code, the message, and that nothing is left. */
import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import type { MessageInitShape } from "@bufbuild/protobuf";
import {
  type NamespaceMode,
  type PodSandboxConfig,
  type RunPodSandboxRequestSchema,
  NamespaceMode as Mode,
  type Protocol,
} from "../../src/gen/runtime/v1/api_pb.ts";
import { RuntimeService } from "../../src/gen/runtime/v1/api_pb.ts";
import { GrpcClient } from "../../src/wire/grpc/client.ts";
import type { TestDaemon } from "../support/daemon.ts";
import {
  CONTAINER,
  code,
  endDaemon,
  failsWith,
  leakless,
  listIds,
  NODE,
  POD,
  pod,
  startDaemon,
  withPod,
} from "../support/suites/pods.ts";

let daemon: TestDaemon;
const served = (): TestDaemon => daemon;

before(async () => {
  daemon = await startDaemon({
    config: {
      runtime: {
        handlers: { kata: { controller: "shim", runtime_type: "io.containerd.kata.v2" } },
      },
    },
  });
  await withPod(daemon, pod(), async () => undefined);
});
after(() => endDaemon(daemon));

type Request = MessageInitShape<typeof RunPodSandboxRequestSchema>;

/** A valid request with one change. */
function broken(change: (config: PodSandboxConfig) => void): Request {
  const config = pod();
  change(config);
  return { config };
}

function withSysctl(key: string, value = "1", modes: Parameters<typeof pod>[0] = {}): Request {
  const config = pod(modes);
  if (config.linux !== undefined) config.linux.sysctls = { [key]: value };
  return { config };
}

function withPort(port: {
  containerPort?: number;
  hostPort?: number;
  protocol?: number;
  hostIp?: string;
}): Request {
  const { protocol = 0, ...rest } = port;
  return {
    config: pod(
      {},
      { portMappings: [{ containerPort: 80, ...rest, protocol: protocol as Protocol }] },
    ),
  };
}

const withDns = (dnsConfig: object): Request => ({ config: pod({}, { dnsConfig }) });

const userns = (mode: NamespaceMode): Request =>
  broken((config) => {
    const options = config.linux?.securityContext?.namespaceOptions;
    if (options === undefined) throw new Error("the pod has no namespace options");
    Object.assign(options, {
      usernsOptions: {
        $typeName: "runtime.v1.UserNamespace",
        mode,
        uids: [],
        gids: [],
      },
    });
  });

const unknownMode = 9 as NamespaceMode;

const refused: Readonly<Record<string, readonly [Request, RegExp]>> = {
  "no config": [{}, /config is missing/],
  "no metadata": [broken((config) => delete config.metadata), /metadata is missing/],
  "an empty name": [
    { config: pod({}, { metadata: { name: "", uid: "u", namespace: "n", attempt: 0 } }) },
    /metadata\.name is empty/,
  ],
  "network CONTAINER": [
    { config: pod({ network: CONTAINER }) },
    /network must be POD or NODE, got CONTAINER/,
  ],
  "network TARGET": [
    { config: pod({ network: Mode.TARGET }) },
    /network must be POD or NODE, got TARGET/,
  ],
  "an unknown network mode": [
    { config: pod({ network: unknownMode }) },
    /network must be POD or NODE, got 9/,
  ],
  "ipc CONTAINER": [{ config: pod({ ipc: CONTAINER }) }, /ipc must be POD or NODE, got CONTAINER/],
  "ipc TARGET": [{ config: pod({ ipc: Mode.TARGET }) }, /ipc must be POD or NODE, got TARGET/],
  "pid TARGET": [
    { config: pod({ pid: Mode.TARGET }) },
    /pid must be POD, CONTAINER or NODE, got TARGET/,
  ],
  "an unknown pid mode": [
    { config: pod({ pid: unknownMode }) },
    /pid must be POD, CONTAINER or NODE, got 9/,
  ],
  "a user namespace without ids": [userns(POD), /userns_options\.uids/],
  "a user namespace mode that pods cannot have": [userns(CONTAINER), /userns_options\.mode/],
  "a pod of Windows": [{ config: pod({}, { windows: {} }) }, /windows/],
  "a hostname on the host network": [
    { config: pod({ network: NODE }, { hostname: "mine" }) },
    /"mine" cannot be set for a pod on the host network/,
  ],
  "a hostname that is too long": [{ config: pod({}, { hostname: "h".repeat(65) }) }, /hostname/],
  "a hostname with a blank": [{ config: pod({}, { hostname: "a b" }) }, /hostname/],
  "a hostname with a line break": [{ config: pod({}, { hostname: "a\nb" }) }, /hostname/],
  "a hostname that begins with a dash": [{ config: pod({}, { hostname: "-a" }) }, /hostname/],
  "a DNS server of two words": [withDns({ servers: ["1.1.1.1 8.8.8.8"] }), /dns_config\.servers/],
  "a DNS search that begins a line": [withDns({ searches: ["a\nb"] }), /dns_config\.searches/],
  "an empty DNS option": [withDns({ options: [""] }), /dns_config\.options/],
  "a container port below 0": [withPort({ containerPort: -1 }), /container_port/],
  "a container port above 65535": [withPort({ containerPort: 65_536 }), /container_port/],
  "a host port above 65535": [withPort({ hostPort: 70_000 }), /host_port/],
  "a host port below 0": [withPort({ hostPort: -5 }), /host_port/],
  "an unknown protocol": [withPort({ protocol: 3 }), /protocol/],
  "a host IP that is a name": [withPort({ hostPort: 80, hostIp: "localhost" }), /host_ip/],
  "a relative log directory": [{ config: pod({}, { logDirectory: "logs" }) }, /log_directory/],
  "a cgroup parent that climbs": [
    { config: pod({}, { linux: { cgroupParent: "/a/../../b" } }) },
    /cgroup_parent/,
  ],
  "a cgroup parent with a NUL": [
    { config: pod({}, { linux: { cgroupParent: "/a\0b" } }) },
    /cgroup_parent/,
  ],
  "the root as cgroup parent": [
    { config: pod({}, { linux: { cgroupParent: "/" } }) },
    /cgroup_parent/,
  ],
  "a dot in the cgroup parent": [
    { config: pod({}, { linux: { cgroupParent: "/./a" } }) },
    /cgroup_parent/,
  ],
  "a sysctl of the node": [withSysctl("vm.swappiness"), /"vm\.swappiness" is not namespaced/],
  "a sysctl of the node with slashes": [
    withSysctl("kernel/panic"),
    /"kernel\/panic" is not namespaced/,
  ],
  "a sysctl that climbs": [withSysctl("net/../kernel/panic"), /is not a sysctl's name/],
  "a sysctl that climbs with dots": [withSysctl("net...kernel.panic"), /is not a sysctl's name/],
  "a sysctl with a blank": [withSysctl("net.ipv4. x"), /is not a sysctl's name/],
  "an empty sysctl": [withSysctl(""), /is not a sysctl's name/],
  "a sysctl value of two lines": [withSysctl("net.ipv4.ip_forward", "1\n0"), /several lines/],
  "a net sysctl on the host network": [
    withSysctl("net.ipv4.ip_forward", "1", { network: NODE }),
    /on the host network/,
  ],
  "an ipc sysctl in the host's ipc namespace": [
    withSysctl("kernel.shmmax", "1", { ipc: NODE }),
    /host's IPC namespace/,
  ],
  "an mqueue sysctl in the host's ipc namespace": [
    withSysctl("fs.mqueue.msg_max", "1", { ipc: NODE }),
    /host's IPC namespace/,
  ],
};

describe("RunPodSandbox answers InvalidArgument to", () => {
  for (const [what, [request, words]] of Object.entries(refused)) {
    test(what, async () => {
      const run = daemon.client.runtime.runPodSandbox(request);
      await assert.rejects(run, failsWith(code.invalidArgument, words));
    });
  }

  test(
    "all of these, and nothing is left",
    leakless(served, async () => {
      for (const [request] of Object.values(refused)) {
        const run = daemon.client.runtime.runPodSandbox(request);
        await assert.rejects(run, failsWith(code.invalidArgument));
      }
      assert.deepEqual(await listIds(daemon), []);
    }),
  );

  test(
    "bytes that are not a request",
    leakless(served, async () => {
      using client = new GrpcClient({ path: daemon.paths.socket });
      const method = `/${RuntimeService.typeName}/RunPodSandbox`;
      const sent = client.unary(method, Uint8Array.of(0x0a, 0x7f, 0x01));
      await assert.rejects(sent, failsWith(code.invalidArgument, /RunPodSandbox/));
      assert.deepEqual(await listIds(daemon), []);
    }),
  );
});

describe("RunPodSandbox refuses", () => {
  test(
    "a handler that is not configured, and lists the configured ones",
    leakless(served, async () => {
      const run = daemon.client.runtime.runPodSandbox({ config: pod(), runtimeHandler: "gvisor" });
      await assert.rejects(run, failsWith(code.invalidArgument, /"gvisor".*crun, kata, runc/));
      assert.deepEqual(await listIds(daemon), []);
    }),
  );

  test(
    "a handler whose controller does not exist",
    leakless(served, async () => {
      const run = daemon.client.runtime.runPodSandbox({ config: pod(), runtimeHandler: "kata" });
      await assert.rejects(
        run,
        failsWith(code.failedPrecondition, /containerd-shim-kata-v2 is not on PATH/),
      );
      assert.deepEqual(await listIds(daemon), []);
    }),
  );

  test(
    "a sysctl that the kernel refuses, and undoes everything",
    leakless(served, async () => {
      const request = withSysctl("net.ipv4.no_such_thing");
      await assert.rejects(
        daemon.client.runtime.runPodSandbox(request),
        failsWith(code.invalidArgument, /stage write-sysctls.*net.ipv4.no_such_thing/),
      );
      assert.deepEqual(await listIds(daemon), []);
    }),
  );
});
