import type { EgressLimits, EgressRequest } from "../../core/network/index.ts";
import { Trouble } from "./trouble.ts";

/** Notes which pods were limited. */
export class FakeEgress implements EgressLimits {
  readonly trouble = new Trouble<"limit">();
  readonly requests: EgressRequest[] = [];

  async limit(request: EgressRequest, signal: AbortSignal): Promise<void> {
    this.requests.push(request);
    await this.trouble.at("limit", signal);
  }
}
