import { messageOf } from "../../base/errors.ts";
import type { Container, Image, PodSandbox, StatusResponse } from "../../gen/runtime/v1/api_pb.ts";
import type { LiveState } from "../../page/view.ts";
import { joinPods } from "../objects/find.ts";
import { pausedIn } from "../objects/state.ts";
import { member, readInfo } from "../output/cri-message.ts";
import type { Server } from "../server/session.ts";
import { readHistory, readInflight } from "../../client/operations.ts";
import type { Live } from "./live.ts";
import { buildActivity } from "./model/activity.ts";
import { StartHistory, timelineMs } from "./model/history.ts";
import { buildImages, layersIn } from "./model/images.ts";
import { buildPods } from "./model/pods.ts";
import { pullsOf } from "./model/pulls.ts";
import { subjectFinder } from "./model/subjects.ts";
import { Usage } from "./model/usage.ts";
import { NodeSampler, readDisk } from "./node-sampler.ts";
import { Statuses } from "./statuses.ts";

const intervalMs = 2_000;
/** Images are listed once in this number of rounds. */
const roundsPerImages = 5;

/** The lists of a round. */
interface Lists {
  readonly pods: readonly PodSandbox[];
  readonly containers: readonly Container[];
}

/** Polls the server while a page is open: one round of calls for all pages. */
export class Poller {
  readonly #server: Server;
  readonly #live: Live;
  readonly #canWrite: boolean;
  readonly #sampler: NodeSampler;
  readonly #usage = new Usage();
  readonly #history = new StartHistory();
  readonly #statuses: Statuses;
  /** The layers of each image by its id. */
  #layers = new Map<string, readonly string[]>();
  #disk: LiveState["node"]["disk"];
  #round = 0;
  /** Ends the pause between two rounds. */
  #wake: () => void = () => undefined;
  #pages = 0;
  #isPolling = false;

  constructor(server: Server, live: Live, canWrite: boolean) {
    this.#server = server;
    this.#live = live;
    this.#canWrite = canWrite;
    this.#sampler = new NodeSampler(server.endpoint.address);
    this.#statuses = new Statuses(server, this.#history);
  }

  /** Starts to poll with the first page, and stops after the last one. */
  setPages(pages: number): void {
    this.#pages = pages;
    if (pages > 0 && !this.#isPolling) void this.#poll();
  }

  /** Polls at once, because something was changed. */
  refresh(): void {
    this.#round = 0;
    this.#wake();
  }

  async #poll(): Promise<void> {
    this.#isPolling = true;
    const { signal } = this.#server;
    while (this.#pages > 0 && !signal.aborted) {
      try {
        await this.#roundOfCalls();
        this.#live.set("link", { ok: true, message: "" });
      } catch (error) {
        // The next round connects again. The pages show what was known last.
        this.#live.set("link", { ok: false, message: messageOf(error) });
      }
      await this.#pause(signal);
    }
    this.#isPolling = false;
  }

  async #pause(signal: AbortSignal): Promise<void> {
    const { promise, resolve } = Promise.withResolvers<undefined>();
    const end = (): void => resolve(undefined);
    const timer = setTimeout(end, intervalMs);
    this.#wake = end;
    signal.addEventListener("abort", end, { once: true });
    await promise;
    signal.removeEventListener("abort", end);
    clearTimeout(timer);
  }

  async #roundOfCalls(): Promise<void> {
    const { client, limit } = this.#server;
    const { runtime } = client;
    const none = (): { readonly stats: never[] } => ({ stats: [] });
    const [status, version, { items: pods }, { containers }, own, ofPods] = await Promise.all([
      runtime.status({ verbose: true }, limit()),
      runtime.version({}, limit()),
      runtime.listPodSandbox({}, limit()),
      runtime.listContainers({}, limit()),
      // Not all servers have statistics.
      runtime.listContainerStats({}, limit()).catch(none),
      runtime.listPodSandboxStats({}, limit()).catch(none),
    ]);
    this.#usage.update(own.stats, ofPods.stats);
    const lists = { pods, containers };
    // A server need not be its own image service.
    if (this.#round % roundsPerImages === 0) await this.#updateImages(lists).catch(() => undefined);
    this.#round += 1;
    const info = readInfo(status.info);
    const isDavit = Array.isArray(info["inflight"]);
    await this.#statuses.update(lists, isDavit);
    const usage = this.#usage;
    const paused = pausedIn(info);
    const { containers: statuses, addresses } = this.#statuses;
    this.#live.set("pods", buildPods({ ...lists, statuses, paused, addresses, usage }));
    this.#live.set("node", await this.#node(status, version, isDavit));
    this.#updateOperations(lists, info, isDavit);
  }

  async #node(
    { status }: StatusResponse,
    version: { readonly runtimeName: string; readonly runtimeVersion: string },
    isDavit: boolean,
  ): Promise<LiveState["node"]> {
    return {
      ...(await this.#sampler.sample()),
      endpoint: this.#server.endpoint.address,
      runtime: version.runtimeName,
      version: version.runtimeVersion,
      isDavit,
      conditions: (status?.conditions ?? []).map((each) => ({
        type: each.type,
        ok: each.status,
        reason: [each.reason, each.message].filter((text) => text !== "").join(": "),
      })),
      disk: this.#disk,
      canWrite: this.#canWrite,
    };
  }

  #updateOperations(
    { pods, containers }: Lists,
    info: ReturnType<typeof readInfo>,
    supported: boolean,
  ): void {
    const nowMs = Date.now();
    const find = subjectFinder(pods, joinPods(containers, pods));
    const running = readInflight(info["inflight"], nowMs);
    const failures = readHistory(info["lastFailures"]) ?? [];
    const { pulls, calls } = info;
    this.#live.set("activity", buildActivity({ running, failures, pulls, calls, supported }, find));
    this.#history.addFailures(failures, find);
    const past = readHistory(member(info["pullHistory"], "operations")) ?? [];
    this.#history.addPulls(past, find);
    const starts = this.#history.starts(running, find, nowMs);
    const others = pullsOf(past, containers, find, { sinceMs: nowMs - timelineMs, starts });
    const all = [...starts, ...others].toSorted((a, b) => b.startedMs - a.startedMs);
    this.#live.set("timeline", { supported, starts: all });
  }

  async #updateImages(lists: Lists): Promise<void> {
    const { client, limit } = this.#server;
    const [{ images }, info] = await Promise.all([
      client.image.listImages({}, limit()),
      client.image.imageFsInfo({}, limit()).catch(() => undefined),
    ]);
    const [filesystem] = info?.imageFilesystems ?? [];
    const used = Number(filesystem?.usedBytes?.value ?? 0n);
    this.#disk = await readDisk(filesystem?.fsId?.mountpoint ?? "/", used);
    this.#layers = new Map(await Promise.all(images.map((image) => this.#layersOf(image))));
    const layersOf = (id: string): readonly string[] => this.#layers.get(id) ?? [];
    this.#live.set("images", buildImages(images, layersOf, lists));
  }

  async #layersOf({ id }: Image): Promise<readonly [string, readonly string[]]> {
    const known = this.#layers.get(id);
    if (known !== undefined) return [id, known];
    const { client, limit } = this.#server;
    const request = { image: { image: id }, verbose: true };
    const answer = await client.image.imageStatus(request, limit()).catch(() => undefined);
    return [id, layersIn(member(readInfo(answer?.info ?? {}), "info"))];
  }
}
