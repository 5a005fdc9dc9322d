/** The example plugins of the SDK on Debian's containerd, whose NRI is of an older version. */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { after, before, describe } from "node:test";
import { CriContainerd, noContainerd } from "../support/cri-containerd.ts";
import { busyboxLayer, imageOf } from "../support/images.ts";
import { busybox } from "../support/suites/containers.ts";
import { exampleTests, installAdjuster } from "../support/suites/nri-examples.ts";

const skip = noContainerd === undefined ? false : `${noContainerd} is not installed`;

describe("on containerd", { skip }, () => {
  const directory = mkdtempSync(path.join(tmpdir(), "davit-nri-"));
  let containerd: CriContainerd;

  before(async () => {
    installAdjuster(path.join(directory, "plugins"));
    const run = { Cmd: ["sleep", "100000"], Env: ["PATH=/bin"] };
    const image = { name: busybox, image: imageOf([busyboxLayer()], run) };
    containerd = await CriContainerd.start(directory, image);
  });
  exampleTests(() => containerd, directory);
  after(async () => {
    await containerd[Symbol.asyncDispose]();
    rmSync(directory, { recursive: true });
  });
});
