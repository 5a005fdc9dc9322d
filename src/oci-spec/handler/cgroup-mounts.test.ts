import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { create } from "@bufbuild/protobuf";
import { isKind } from "../../base/errors.ts";
import {
  CgroupMountMode,
  LinuxContainerSecurityContextSchema,
} from "../../gen/runtime/v1/api_pb.ts";
import { checkCgroupMountMode, withCgroupMounts, writesCgroups } from "./cgroup-mounts.ts";
import { containerSpec } from "../generate.ts";
import type { SpecInput } from "../input.ts";
import type { OciMount } from "../../core/oci/index.ts";
import { containerConfig, specInput, testHost } from "../testing/spec-input.ts";

const path = "/sys/fs/cgroup";
const privileged = { linux: { securityContext: { privileged: true } } };
const v1 = { ...testHost, cgroupVersion: 1 } as const;

function cgroupsOf(input: SpecInput): readonly OciMount[] {
  return containerSpec(input).mounts.filter(({ destination }) => destination === path);
}

describe("a container that sees all cgroups of v2", () => {
  test("gets the node's mount of them, wherever that is", () => {
    const none = ["nosuid", "noexec", "nodev"];
    const mount = {
      destination: path,
      type: "bind",
      source: path,
      options: ["bind", "rprivate", ...none, "relatime", "rw"],
    };
    assert.deepEqual(cgroupsOf(specInput(privileged)), [mount]);
    const host = { ...testHost, cgroupRoot: "/cgroup2" };
    assert.deepEqual(cgroupsOf(specInput(privileged, { host })), [
      { ...mount, source: "/cgroup2" },
    ]);
  });

  test("gets it also where the handler's base has a mount of its own", () => {
    for (const type of ["cgroup", "cgroup2"]) {
      const mounts = [{ destination: path, type, source: "cgroup", options: ["ro"] }];
      const [mount] = cgroupsOf(specInput(privileged, { base: { mounts } }));
      assert.deepEqual(mount, {
        destination: path,
        type: "bind",
        source: path,
        options: ["bind", "rprivate", "ro"],
      });
    }
  });

  test("gets it also where that mount has no options", () => {
    const mounts = [{ destination: path, type: "cgroup", source: "cgroup" }] as OciMount[];
    const [mount] = cgroupsOf(specInput(privileged, { base: { mounts } }));
    assert.deepEqual(mount?.options, ["bind", "rprivate"]);
  });

  test("keeps a mount that its request has there", () => {
    const mounts = [{ containerPath: path, hostPath: "/other" }];
    const [mount, ...more] = cgroupsOf(specInput({ ...privileged, mounts }));
    assert.deepEqual([mount?.source, more], ["/other", []]);
  });
});

test("the OCI runtime mounts cgroups on v1, and in a cgroup namespace", () => {
  for (const input of [
    specInput(),
    specInput({}, { host: v1 }),
    specInput(privileged, { host: v1 }),
  ]) {
    assert.equal(cgroupsOf(input)[0]?.type, "cgroup");
  }
});

describe("cgroup_writable", () => {
  const writable = (over: Partial<SpecInput>): SpecInput =>
    specInput({}, { cgroupWritable: true, ...over });

  test("lets a container write where nsdelegate keeps it in its own cgroup", () => {
    const [mount] = cgroupsOf(writable({ cgroupDelegated: true }));
    assert.equal(mount?.type, "cgroup");
    assert.deepEqual(mount.options.slice(-1), ["rw"]);
  });

  test("is refused elsewhere, with what to do", () => {
    const host = { ...testHost, cgroupRoot: "/cgroup2" };
    const cases = [
      [{ cgroupDelegated: false, host }, /without nsdelegate.*remount,nsdelegate \/cgroup2$/],
      [{ host }, /without nsdelegate/],
      [{ host: v1 }, /needs cgroup v2, and this node has v1/],
    ] as const;
    for (const [over, why] of cases) {
      assert.throws(
        () => containerSpec(writable(over)),
        (error) => isKind(error, "failed-precondition") && why.test(String(error)),
      );
    }
  });

  test("is overridden by the request, which has the same conditions", () => {
    const asks = (cgroupMountMode: CgroupMountMode, over: Partial<SpecInput>): SpecInput =>
      specInput({ linux: { securityContext: { cgroupMountMode } } }, over);
    const { READ_ONLY, WRITABLE, UNSPECIFIED } = CgroupMountMode;
    const access = (input: SpecInput): unknown =>
      cgroupsOf(input)[0]?.options.filter((option) => ["ro", "rw"].includes(option));
    const delegated = { cgroupDelegated: true };
    assert.deepEqual(access(asks(WRITABLE, delegated)), ["rw"]);
    assert.deepEqual(access(asks(READ_ONLY, { ...delegated, cgroupWritable: true })), ["ro"]);
    assert.deepEqual(access(asks(READ_ONLY, { host: v1 })), ["ro"]);
    assert.deepEqual(access(asks(UNSPECIFIED, { ...delegated, cgroupWritable: true })), ["rw"]);
    for (const [over, why] of [
      [{}, /cgroup_mount_mode is WRITABLE, but cgroup v2 is mounted without nsdelegate/],
      [{ host: v1 }, /cgroup_mount_mode is WRITABLE, which needs cgroup v2, and this node has v1$/],
    ] as const) {
      assert.throws(
        () => containerSpec(asks(WRITABLE, over)),
        (error) => isKind(error, "failed-precondition") && why.test(String(error)),
      );
    }
  });

  test("writesCgroups() and checkCgroupMountMode() agree with that", () => {
    const { READ_ONLY, WRITABLE, UNSPECIFIED } = CgroupMountMode;
    const config = (cgroupMountMode: CgroupMountMode) =>
      containerConfig({ linux: { securityContext: { cgroupMountMode } } });
    assert.deepEqual(
      [UNSPECIFIED, READ_ONLY, WRITABLE].map((mode) => writesCgroups(config(mode), true)),
      [true, false, true],
    );
    assert.deepEqual(
      [UNSPECIFIED, READ_ONLY, WRITABLE].map((mode) => writesCgroups(config(mode), false)),
      [false, false, true],
    );
    assert.equal(writesCgroups(containerConfig(), false), false);
    for (const [context, why] of [
      [{ cgroupMountMode: 3 as CgroupMountMode }, /cgroup_mount_mode is 3, which is unknown/],
      [{ cgroupMountMode: READ_ONLY, privileged: true }, /a privileged container can write/],
    ] as const) {
      const made = create(LinuxContainerSecurityContextSchema, context);
      assert.throws(
        () => checkCgroupMountMode(made),
        (error) => isKind(error, "invalid-argument") && why.test(String(error)),
      );
    }
  });

  test("changes nothing for a privileged container, which writes anyway", () => {
    const spec = containerSpec(specInput(privileged));
    for (const host of [testHost, v1]) {
      const input = specInput(privileged, { cgroupWritable: true, host });
      assert.doesNotThrow(() => withCgroupMounts(spec, input));
    }
  });
});
