/** The volumes of pods in a user namespace: the ids of their files, inside and on the node. */
import assert from "node:assert/strict";
import { chownSync, mkdirSync, rmSync, statSync, writeFileSync } from "node:fs";
import path from "node:path";
import { describe, test } from "node:test";
import { container, exec, inPod, runIn, sh } from "../support/suites/containers.ts";
import { leakless, mapped, userRange as range } from "../support/suites/pods.ts";
import {
  daemon,
  declaring,
  directory,
  image,
  served,
  serveMappedPods,
} from "../support/suites/mapped-pods.ts";

serveMappedPods();

describe("volumes of such a pod", () => {
  test(
    "keep the ids of their files where the request maps them",
    leakless(served, () =>
      inPod(daemon, mapped(), async (pod) => {
        const source = path.join(directory, "volume");
        mkdirSync(source);
        writeFileSync(path.join(source, "of-1000"), "");
        chownSync(path.join(source, "of-1000"), 1000, 2000);
        const mapping = { uidMappings: [range], gidMappings: [range] };
        const mounts = [
          { hostPath: source, containerPath: "/mapped", ...mapping },
          { hostPath: source, containerPath: "/ro", readonly: true, ...mapping },
          { hostPath: source, containerPath: "/plain" },
        ];
        const id = await runIn(pod, container({ mounts }));
        const look = "stat -c %u:%g /mapped/of-1000 /ro/of-1000 /plain/of-1000";
        assert.equal(await sh(daemon, id, look), "1000:2000\n1000:2000\n65534:65534");
        await sh(daemon, id, "touch /mapped/new");
        assert.equal(statSync(path.join(source, "new")).uid, 0, "root's on the node, too");
        for (const denied of ["touch /ro/new", "touch /plain/new"]) {
          assert.notEqual((await exec(daemon, id, ["sh", "-c", denied])).exitCode, 0, denied);
        }
        rmSync(source, { recursive: true });
      }),
    ),
  );
});

describe("volumes of images in such a pod", () => {
  test(
    "show the owners in the image",
    leakless(served, () =>
      inPod(daemon, mapped(), async (pod) => {
        const mapping = { uidMappings: [range], gidMappings: [range] };
        const volume = { image: { image }, readonly: true, ...mapping };
        const mounts = [
          { ...volume, containerPath: "/whole" },
          { ...volume, containerPath: "/part", imageSubPath: "data" },
          { ...volume, image: { image: declaring }, containerPath: "/single" },
        ];
        const id = await runIn(pod, container({ image: { image: declaring }, mounts }));
        const files = "/whole/data/a /part/b /whole/bin /single/kept /kept /kept/file /made";
        const [theirs, roots] = ["1000:2000", "0:0"];
        const wanted = [theirs, theirs, roots, "7:8", "7:8", "7:8", roots];
        assert.equal(await sh(daemon, id, `stat -c %u:%g ${files}`), wanted.join("\n"));
        await sh(daemon, id, "touch /kept/new /made/new");
        assert.notEqual((await exec(daemon, id, ["touch", "/whole/new"])).exitCode, 0);
      }),
    ),
  );
});
