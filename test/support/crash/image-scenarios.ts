/** Scenarios of crash tests at one spot of an image operation; see container-kills.ts. */
import assert from "node:assert/strict";
import { imageStatus, pull, removeImage } from "../suites/containers.ts";
import { until } from "../suites/pods.ts";
import type { CrashSite, PodKind } from "./sites.ts";
import { faultAt, type Spot } from "./spots.ts";
import { checkImage, freshImage, homeOf, unfinishedLayers } from "./containers.ts";
import { failsAt, type Recoveries, recoverAfter } from "./pod-scenarios.ts";

// ---- kill

/** The daemon dies at `spot` of a PullImage. */
export async function killPull(
  site: CrashSite,
  spot: Spot,
  kind: PodKind,
  recoveries: Recoveries = [],
): Promise<void> {
  const { daemon } = site;
  await site.begin(faultAt(spot, "kill"));
  const pod = homeOf(site, kind);
  const image = await freshImage(daemon);
  await site.killedBy(spot, pull(daemon, image.name));
  await recoverAfter(site, recoveries);
  await site.checkBystanders();

  const recorded = spot.point === "pull-image/answer";
  assert.equal((await imageStatus(daemon, image.name)) !== undefined, recorded);
  await until("nothing half-made is left", () => unfinishedLayers(daemon).length === 0);
  const fetched = image.fetches();
  await pull(daemon, image.name);
  assert.ok(image.fetches() - fetched <= layersToFetch(spot), "a layer that was whole came again");
  await checkImage(pod, image);
  await removeImage(daemon, image.name);
  await site.checkNothingLeft();
}

/** The daemon dies at `spot` of a RemoveImage. */
export async function killRemoveImage(
  site: CrashSite,
  spot: Spot,
  kind: PodKind,
  recoveries: Recoveries = [],
): Promise<void> {
  const { daemon } = site;
  await site.begin(faultAt(spot, "kill"));
  const pod = homeOf(site, kind);
  const image = await freshImage(daemon);
  await pull(daemon, image.name);
  await site.killedBy(spot, removeImage(daemon, image.name));
  await recoverAfter(site, recoveries);
  await site.checkBystanders();
  if (spot.point === "remove-image/delete-record") await checkImage(pod, image);
  else assert.equal(await imageStatus(daemon, image.name), undefined);
  await removeImage(daemon, image.name);
  await site.checkNothingLeft();
}

// ---- throw

/** A PullImage fails at `spot`: no incomplete layer stays, and complete layers are kept for the retry. */
export async function throwPull(site: CrashSite, spot: Spot, kind: PodKind): Promise<void> {
  const { daemon } = site;
  await site.begin(faultAt(spot, "throw"));
  const pod = homeOf(site, kind);
  const image = await freshImage(daemon);
  await assert.rejects(pull(daemon, image.name), failsAt(spot));
  await until("nothing half-made is left", () => unfinishedLayers(daemon).length === 0);
  const fetched = image.fetches();
  await pull(daemon, image.name);
  assert.ok(image.fetches() - fetched <= layersToFetch(spot), "a layer that was whole came again");
  await checkImage(pod, image);
  await removeImage(daemon, image.name);
  await site.checkNothingLeft();
}

/** A RemoveImage fails at `spot`: the image is complete, or its name is removed and its layers are being deleted. */
export async function throwRemoveImage(site: CrashSite, spot: Spot, kind: PodKind): Promise<void> {
  const { daemon } = site;
  await site.begin(faultAt(spot, "throw"));
  const pod = homeOf(site, kind);
  const image = await freshImage(daemon);
  await pull(daemon, image.name);
  await assert.rejects(removeImage(daemon, image.name), failsAt(spot));
  if (spot.point === "remove-image/delete-record") await checkImage(pod, image);
  else assert.equal(await imageStatus(daemon, image.name), undefined);
  await removeImage(daemon, image.name);
  await site.checkNothingLeft();
}

// ---- steps

/** How many of the image's own two layers were not complete yet at the spot. */
function layersToFetch({ point, visit }: Spot): number {
  if (/^pull-image\/(complete-layers|write-record|answer)$/.test(point)) return 0;
  return point === "pull-layer/answer" ? 2 - visit : 2;
}
