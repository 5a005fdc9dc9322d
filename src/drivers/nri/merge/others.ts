import { create } from "@bufbuild/protobuf";
import { quote } from "../../../base/quote.ts";
import type { AskedEviction } from "../../../core/plugin/index.ts";
import {
  type ContainerEviction,
  type ContainerUpdate,
  ContainerUpdateSchema,
  type LinuxResources,
  LinuxResourcesSchema,
} from "../../../gen/nri/pkg/api/v1alpha1/api_pb.ts";
import { checkCount, checkText, type Refuse, refusal } from "./answer.ts";
import { checkUpdateResources } from "./check/resources.ts";
import type { Owners } from "./owners.ts";
import { mergeResources } from "./resources.ts";

const longestReason = 4096;
const longestId = 256;

interface AnswerAboutOthers {
  readonly update: readonly ContainerUpdate[];
  readonly evict?: readonly ContainerEviction[];
}

interface Turn {
  readonly plugin: string;
  /** The container that is being created, which can be neither updated nor evicted. */
  readonly created?: string;
  /** The container whose update the plugins are asked about, and its resources until now. */
  readonly updated?: { readonly id: string; readonly resources: LinuxResources };
}

/** Updates and evictions of containers other than the one of the event, of all plugins together. */
export class ChangesOfOthers {
  readonly #owners: Owners;
  readonly #updates = new Map<string, ContainerUpdate>();
  readonly #evictions = new Map<string, AskedEviction>();

  constructor(owners: Owners) {
    this.#owners = owners;
  }

  get updates(): ContainerUpdate[] {
    return [...this.#updates.values()];
  }

  get evictions(): AskedEviction[] {
    return [...this.#evictions.values()];
  }

  /** Adds a plugin's answer. Errors as of CreateResult; an update with `ignore_failure` is dropped instead. */
  apply(answer: AnswerAboutOthers, turn: Turn): void {
    const { update, evict = [] } = answer;
    const refuse = refusal(turn.plugin, turn.created ?? turn.updated?.id ?? "");
    checkCount("update", update.length, refuse);
    checkCount("evict", evict.length, refuse);
    for (const one of update) this.#update(one, turn, refuse);
    for (const one of evict) this.#evict(one, turn, refuse);
  }

  #update(update: ContainerUpdate, turn: Turn, refuse: Refuse): void {
    const { containerId: id, ignoreFailure } = update;
    checkId("update.container_id", id, refuse);
    if (id === turn.created) {
      refuse("update", `container ${quote(id)} is being created; set its resources in adjust`);
    }
    try {
      this.#owners.attempt(id, () => {
        this.#merge(update, turn);
      });
    } catch (error) {
      if (!ignoreFailure) throw error;
    }
  }

  #merge(update: ContainerUpdate, { plugin, updated }: Turn): void {
    const { containerId: id, ignoreFailure, linux } = update;
    const context = { plugin, container: id, owners: this.#owners, refuse: refusal(plugin, id) };
    const resources = linux?.resources ?? create(LinuxResourcesSchema);
    checkUpdateResources(resources, context.refuse);
    if (id === updated?.id) {
      mergeResources(context, resources, [updated.resources]);
      return;
    }
    const before = this.#updates.get(id);
    const merged = before?.linux?.resources ?? create(LinuxResourcesSchema);
    mergeResources(context, resources, [merged]);
    const after = create(ContainerUpdateSchema, {
      containerId: id,
      linux: { resources: merged },
      ignoreFailure: ignoreFailure && (before?.ignoreFailure ?? true),
    });
    this.#updates.set(id, after);
  }

  #evict(eviction: ContainerEviction, { plugin, created }: Turn, refuse: Refuse): void {
    const { containerId: id, reason } = eviction;
    checkId("evict.container_id", id, refuse);
    checkText("evict.reason", reason, longestReason, refuse);
    if (id === created) {
      refuse("evict", `container ${quote(id)} is being created; answer with an error instead`);
    }
    // The first plugin's reason is as good as the second's.
    if (!this.#evictions.has(id)) this.#evictions.set(id, { containerId: id, reason, plugin });
  }
}

function checkId(field: string, id: string, refuse: Refuse): void {
  if (id === "") refuse(field, "it is empty");
  checkText(field, id, longestId, refuse);
}
