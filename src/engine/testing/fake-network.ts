import type {
  NetworkRequest,
  NetworkStatus,
  PluginListeners,
  PodNetwork,
  Attachment,
  ValidAttachment,
} from "../../core/network/index.ts";
import type { Operation } from "../../core/operation/index.ts";
import type { SandboxNetwork } from "../../core/sandbox/index.ts";
import type { FakeHost } from "./fake-host.ts";
import { Trouble } from "./trouble.ts";

/** A pod network of one plugin, "bridge", which gives each pod an address of 10.0.0.0/24. */
export class FakeNetwork implements PodNetwork {
  /** Makes `add` fail after the plugin has created the interface, as a later plugin could. */
  readonly trouble = new Trouble<"add" | "remove" | "collect">();
  /** The requests of add(), by sandbox. */
  readonly requests = new Map<string, NetworkRequest>();
  bootId: string;
  readonly #host: FakeHost;
  #addresses = 0;

  constructor(host: FakeHost, bootId: string) {
    this.#host = host;
    this.bootId = bootId;
  }

  async add(
    request: NetworkRequest,
    operation: Operation,
    record: (attachment: Attachment) => Promise<void> | void,
  ): Promise<SandboxNetwork> {
    const { sandboxId, netnsPath } = request;
    this.requests.set(sandboxId, request);
    const attachment: Attachment = {
      sandboxId,
      ifName: "eth0",
      netnsPath,
      conflist: "{}",
      args: "{}",
      result: undefined,
      bootId: this.bootId,
      removal: undefined,
    };
    await record(attachment);
    this.#host.make("network", sandboxId);
    await this.trouble.at("add", operation.signal);
    await operation.enter("network-plugin-done", "bridge");
    this.#addresses++;
    const ips = [`10.0.0.${this.#addresses}`, `fd00::${this.#addresses}`];
    const result = JSON.stringify({ ips });
    await record({ ...attachment, result });
    return { ips, result };
  }

  async remove(
    { sandboxId }: Attachment,
    { signal, onPlugin, onPluginDone }: { readonly signal: AbortSignal } & PluginListeners,
  ): Promise<void> {
    onPlugin?.("bridge");
    await this.trouble.at("remove", signal);
    this.#host.remove("network", sandboxId);
    await onPluginDone?.("bridge");
  }

  async collect(
    valid: () => readonly ValidAttachment[],
    { signal }: { readonly signal: AbortSignal },
  ): Promise<void> {
    await this.trouble.at("collect", signal);
    const kept = new Set(valid().map(({ sandboxId }) => sandboxId));
    for (const id of this.#host.idsOf("network")) {
      if (!kept.has(id)) this.#host.remove("network", id);
    }
  }

  setPodCidr(): void {
    // The plugin of this network does not use it.
  }

  status(): NetworkStatus {
    return { ready: true };
  }

  describe(): Readonly<Record<string, unknown>> {
    return {};
  }
}
