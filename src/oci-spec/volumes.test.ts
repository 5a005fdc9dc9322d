import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { isKind } from "../base/errors.ts";
import { containerConfig } from "./testing/spec-input.ts";
import { declaredVolumes } from "./volumes.ts";

describe("declaredVolumes()", () => {
  test("gives each path once, sorted, and leaves out what the request mounts", () => {
    const config = containerConfig({
      mounts: [
        { containerPath: "/taken/", hostPath: "/a" },
        { containerPath: "/above", hostPath: "/b" },
      ],
    });
    const volumes = ["/z/../y/", "relative", "/y", "/taken", "/above/below", "../up"];
    assert.deepEqual(declaredVolumes({ volumes }, config), {
      paths: ["/above/below", "/relative", "/up", "/y"],
      skipped: [],
    });
  });

  test("skips what would hide the kernel's file systems", () => {
    const kernel = ["/dev", "/dev/null", "/dev/pts", "/proc", "/proc/self/attr", "/sys/fs/cgroup"];
    const own = ["/dev/shm", "/devices", "/proc2", "/system"];
    const volumes = [...kernel.map((path) => `/x/../${path}/`), ...own];
    assert.deepEqual(declaredVolumes({ volumes }, containerConfig()), {
      paths: own,
      skipped: kernel,
    });
  });

  test("refuses the root", () => {
    assert.throws(
      () => declaredVolumes({ volumes: ["/a/.."] }, containerConfig()),
      (error) => isKind(error, "failed-precondition"),
    );
  });
});
