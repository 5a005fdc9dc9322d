/** AppArmor in enforcing mode: what a container can do with the default profile and with those of the node. */
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { after, before, test } from "node:test";
import type { MessageInitShape } from "@bufbuild/protobuf";
import {
  type LinuxContainerSecurityContextSchema,
  NamespaceMode,
  SecurityProfile_ProfileType,
} from "../../../src/gen/runtime/v1/api_pb.ts";
import { podConfig } from "../../support/pod.ts";
import { busyboxLayer, imageOf } from "../../support/images.ts";
import {
  addImage,
  answers,
  client,
  endClient,
  execIn,
  exited,
  pidOf,
  property,
  read,
  removePod,
  run,
  start,
  startService,
  until,
} from "./service.ts";

const { Localhost, Unconfined } = SecurityProfile_ProfileType;
const config = podConfig();
let pod = "";

before(async () => {
  await startService({});
  ({ podSandboxId: pod } = await client.runtime.runPodSandbox({ config }));
});
after(async () => {
  await removePod(pod);
  await endClient();
});

/**
 * A container that only AppArmor restricts: it may mount and make all system calls, and has no hidden or read-only
 * path of /proc and /sys.
 */
function open(
  apparmor?: MessageInitShape<typeof LinuxContainerSecurityContextSchema>["apparmor"],
  command = ["/bin/sleep", "100000"],
): Promise<string> {
  return start(pod, config, {
    command,
    linux: {
      securityContext: {
        namespaceOptions: { pid: NamespaceMode.CONTAINER },
        capabilities: { addCapabilities: ["SYS_ADMIN"] },
        seccomp: { profileType: Unconfined },
        ...(apparmor === undefined ? {} : { apparmor }),
      },
    },
  });
}

/** crun takes the profile when it executes the command, which may be after StartContainer has returned. */
async function profileOf(containerId: string): Promise<string> {
  const pid = await pidOf(containerId);
  await until("the command runs", () => !read(`/proc/${pid}/comm`).startsWith("crun"));
  return read(`/proc/${pid}/attr/current`);
}

const writeSysctl = "echo davit-vm >/proc/sys/kernel/hostname";
const mountTmpfs = "mkdir -p /m && mount -t tmpfs none /m";

test("without a profile the container may do what the profile is to forbid", async () => {
  const id = await open({ profileType: Unconfined });
  assert.match(await profileOf(id), /^unconfined/);
  for (const script of [writeSysctl, mountTmpfs]) {
    assert.deepEqual(await execIn(id, script), { output: "", exitCode: 0 });
  }
});

test("the default profile is loaded by the first container, and confines it", async () => {
  const id = await open();
  assert.match(read("/sys/kernel/security/apparmor/profiles"), /^davit-default \(enforce\)$/m);
  assert.equal(await profileOf(id), "davit-default (enforce)");
  assert.equal((await execIn(id, "cat /proc/self/attr/current")).output, "davit-default (enforce)");
  for (const script of [
    writeSysctl,
    mountTmpfs,
    "echo 1 >/proc/sys/vm/drop_caches",
    "echo h >/proc/sysrq-trigger",
    "cat /proc/kcore",
  ]) {
    const { output, exitCode } = await execIn(id, script);
    assert.notEqual(exitCode, 0, script);
    assert.match(output, /ermission denied/, script);
  }
  const useful = "echo x >/tmp/a && cat /proc/meminfo >/dev/null && ls /sys/fs/cgroup >/dev/null";
  assert.deepEqual(await execIn(id, useful), { output: "", exitCode: 0 });
});

test("processes under the default profile signal each other, and are signalled by davit", async () => {
  const script =
    "sleep 100000 & child=$!; trap 'kill $child; wait $child; exit 7' TERM; echo >/waits; wait";
  const id = await open(undefined, ["sh", "-c", script]);
  // Before it has set its trap, the first process of a PID namespace ignores the signal.
  await until("it waits", async () => (await execIn(id, "ls /waits")).exitCode === 0);
  await client.runtime.stopContainer({ containerId: id, timeout: 240n });
  assert.equal((await exited(id)).exitCode, 7);
});

test("a profile of the node blocks what it names", async () => {
  const name = "davit-vm-no-data";
  const text = `profile ${name} flags=(attach_disconnected) {\n file,\n signal,\n deny /data/** w,\n}\n`;
  execFileSync("apparmor_parser", ["--replace", "--skip-cache"], { input: text });
  const id = await open({ profileType: Localhost, localhostRef: name });
  assert.equal(await profileOf(id), `${name} (enforce)`);
  assert.equal((await execIn(id, "mkdir /data && echo x >/other")).exitCode, 0);
  const { output, exitCode } = await execIn(id, "echo x >/data/a");
  assert.equal(exitCode, 1);
  assert.match(output, /Permission denied/);
});

test("an image's volume over procfs takes no profile from a container or its commands (CVE-2019-16884)", async () => {
  const name = "registry.k8s.io/e2e/over-proc:1";
  const planted = { path: "proc/self/attr/exec", mode: 0o666, body: "planted" };
  const Volumes = { "/proc": {}, "/proc/self/attr": {} };
  const layers = [busyboxLayer("gzip", [planted])];
  await addImage(name, imageOf(layers, { Env: ["PATH=/bin"], Volumes }));
  const id = await start(pod, config, { image: { image: name } });
  assert.equal(await profileOf(id), "davit-default (enforce)");
  assert.equal((await execIn(id, "cat /proc/self/attr/current")).output, "davit-default (enforce)");
});

test("a profile that is not loaded is refused", async () => {
  const profile = { profileType: Localhost, localhostRef: "davit-vm-nowhere" };
  await assert.rejects(open(profile), /davit-vm-nowhere.*not loaded/);
});

test("after a restart of the service containers get the default profile again", async () => {
  run("systemctl", "restart", "davit.service");
  await answers();
  assert.equal(await profileOf(await open()), "davit-default (enforce)");
  assert.match(read(`/proc/${property("MainPID")}/attr/current`), /^unconfined/);
});
