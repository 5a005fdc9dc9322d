/** Layers that refer to lower layers, or have an unusual format, and what a container sees of them. */
import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { oddLayer, pushed, saidIn } from "../support/suites/odd-layers.ts";
import { code, failsWith, launchDaemon } from "../support/suites/pods.ts";
import {
  imageless,
  layersThere,
  listImages,
  Node,
  pull,
  removeAllImages,
} from "../support/suites/containers.ts";

let node: Node;
before(async () => {
  node = await Node.start();
});
after(() => node[Symbol.asyncDispose]());
const served = (): Node["daemon"] => node.daemon;

const lower = oddLayer(
  { name: "data", type: "5", mode: 0o1777 },
  { name: "data/file", data: "of the lower layer", mode: 0o640, uid: 7, gid: 8 },
  { name: "way", type: "2", linkName: "data" },
);
const linking = oddLayer(
  { name: "opt/link", type: "1", linkName: "data/file" },
  { name: "opt/by-way", type: "1", linkName: "way/file" },
);

describe("a hard link to a file of a lower layer", () => {
  test(
    "is that file",
    imageless(served, async () => {
      const image = await pushed(node, lower, linking);
      const script =
        "cd /opt && cat link && stat -c ' %a %u %g %h' link && [ link -ef by-way ] && [ link -ef /data/file ]";
      const said = await saidIn(node, image, `${script} && echo same`);
      assert.equal(said, "of the lower layer 640 7 8 3\nsame");
    }),
  );

  test(
    "is writable for the container, and the layers do not change",
    imageless(served, async () => {
      const image = await pushed(node, lower, linking);
      const script = "echo changed > /opt/link; cat /opt/link";
      assert.equal(await saidIn(node, image, script), "changed");
      assert.equal(await saidIn(node, image, "cat /opt/link"), "of the lower layer");
    }),
  );

  test(
    "belongs to the image: on another base it is another file, or none",
    imageless(served, async () => {
      const other = oddLayer({ name: "data/file", data: "of another" }, { name: "way/file" });
      const image = await pushed(node, lower, linking);
      await pull(node.daemon, image);
      const onOther = await pushed(node, other, linking);
      assert.equal(await saidIn(node, onOther, "cat /opt/link"), "of another");
      const onNothing = await pushed(node, linking);
      const message = /link "\/opt\/link" to "\/data\/file".*: no layer below has it/;
      await assert.rejects(pull(node.daemon, onNothing), failsWith(code.invalidArgument, message));
      assert.equal((await listImages(node.daemon)).length, 2);
      assert.equal(await saidIn(node, image, "cat /opt/link"), "of the lower layer");
    }),
  );

  test("exists after a restart, and is removed with its image", async () => {
    try {
      const image = await pushed(node, lower, linking);
      await pull(node.daemon, image);
      const before = layersThere(node.daemon).toSorted();
      await node.daemon.kill9();
      await launchDaemon(node.daemon);
      assert.deepEqual(layersThere(node.daemon).toSorted(), before);
      assert.equal(await saidIn(node, image, "cat /opt/link"), "of the lower layer");
    } finally {
      await removeAllImages(node.daemon);
    }
  });
});

describe("directories without an entry", () => {
  test(
    "have the attributes of the lower layers",
    imageless(served, async () => {
      const image = await pushed(node, oddLayer({ name: "tmp/file" }, { name: "home/app/file" }));
      const said = await saidIn(node, image, "stat -c '%a %u' /tmp /home/app");
      assert.equal(said, "1777 0\n755 1000");
    }),
  );

  test(
    "are created at the target of a symbolic link of the layer",
    imageless(served, async () => {
      const layer = oddLayer(
        { name: "abslink", type: "2", linkName: "/var/x" },
        { name: "abslink/x", data: "absolute" },
        { name: "uplink", type: "2", linkName: "../../../srv/a/b" },
        { name: "uplink/x", data: "relative" },
        { name: "tmplink", type: "2", linkName: "tmp" },
        { name: "tmplink/x", data: "in tmp" },
      );
      const image = await pushed(node, layer);
      const script = "cat /var/x/x /srv/a/b/x /tmp/x; stat -c ' %a' /tmp";
      assert.equal(await saidIn(node, image, script), "absoluterelativein tmp 1777");
    }),
  );
});

describe("sparse files", () => {
  test(
    "have their holes",
    imageless(served, async () => {
      const pax = {
        "GNU.sparse.major": "1",
        "GNU.sparse.minor": "0",
        "GNU.sparse.name": "sparse",
        "GNU.sparse.realsize": "20000000",
      };
      const map = "2\n0\n5\n10000000\n4\n".padEnd(512, "\0");
      const image = await pushed(node, oddLayer({ name: "x", data: `${map}beginmidd`, pax }));
      const script =
        "cd / && stat -c %s sparse && du -k sparse && head -c 5 sparse && tail -c 10000000 sparse | head -c 4";
      const said = await saidIn(node, image, script);
      assert.match(said, /^20000000\n\d{1,3}\tsparse\nbeginmidd$/);
    }),
  );
});
