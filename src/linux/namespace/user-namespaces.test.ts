import assert from "node:assert/strict";
import { test } from "node:test";
import { tmpfsVolumeObstacle } from "./user-namespaces.ts";

test("tmpfsVolumeObstacle() is there before Linux 6.3", () => {
  for (const release of ["5.19.0", "6.1.0-31-amd64", "6.2.16", "5.14.0-503.el9"]) {
    assert.match(tmpfsVolumeObstacle(release) ?? "", /it needs 6\.3 or later$/);
  }
  for (const release of ["6.3.0", "6.12.118+deb13-amd64", "6.18.44-fc-v657", "7.0-rc1"]) {
    assert.equal(tmpfsVolumeObstacle(release), undefined);
  }
});
