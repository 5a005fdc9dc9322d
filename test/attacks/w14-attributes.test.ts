/** More extended attributes than the file system supports: an error of the image, not a full disk. */
import { after, before, test } from "node:test";
import { imageless, Node } from "../support/suites/containers.ts";
import { code, failsWith } from "../support/suites/pods.ts";
import { assertRefused, oddLayer, pushed } from "../support/suites/odd-layers.ts";

let node: Node;
before(async () => {
  node = await Node.start();
});
after(() => node[Symbol.asyncDispose]());

test(
  "an attribute of 900 KB is refused as an error of the image",
  imageless(
    () => node.daemon,
    async () => {
      const pax = { "SCHILY.xattr.user.large": "x".repeat(900_000) };
      const layer = oddLayer({ name: "xb", pax });
      const image = await pushed(node, layer);
      const message = new RegExp(
        `unpack layer "${layer.diffId}".*entry "/xb" has more attributes than the file system supports`,
      );
      await assertRefused(node, image, failsWith(code.invalidArgument, message));
    },
  ),
);
