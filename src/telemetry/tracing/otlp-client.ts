import * as http from "node:http";
import * as https from "node:https";
import * as tls from "node:tls";
import { fromJsonString } from "@bufbuild/protobuf";
import { messageOf } from "../../base/errors.ts";
import {
  type ExportTraceServiceResponse,
  ExportTraceServiceResponseSchema,
} from "../../gen/opentelemetry/proto/collector/trace/v1/trace_service_pb.ts";
import { decodeBounded } from "../../wire/protobuf.ts";
import { systemCertificates } from "../../wire/system-certificates.ts";
import type { Endpoint } from "./endpoint.ts";

/** What happened to a request. Reasons contain no credentials. */
export type Outcome =
  | { readonly kind: "accepted" }
  /** The collector has rejected this number of spans. They are not sent again. */
  | { readonly kind: "partial"; readonly rejected: number; readonly reason: string }
  /** All spans are lost: OTLP forbids to send them again. */
  | { readonly kind: "rejected"; readonly reason: string }
  /** It may be sent again, after `afterMs` if the collector says when. */
  | { readonly kind: "retry"; readonly reason: string; readonly afterMs?: number | undefined };

/** The whole time of a request, with its answer. OTLP's default. Milliseconds. */
const requestMs = 10_000;

/** Bytes of an answer that are read. */
const maxAnswer = 64 * 1024;

/** The statuses with which OTLP/HTTP lets a client send the same request again. */
const retryable: ReadonlySet<number> = new Set([429, 502, 503, 504]);

/** Sends requests to one collector over one connection, which stays open. */
export class OtlpClient implements Disposable {
  readonly #endpoint: Endpoint;
  readonly #contentType: string;
  readonly #timeoutMs: number;
  readonly #agent: http.Agent;

  constructor(endpoint: Endpoint, options: { readonly contentType: string; timeoutMs?: number }) {
    this.#endpoint = endpoint;
    this.#contentType = options.contentType;
    this.#timeoutMs = options.timeoutMs ?? requestMs;
    const keep = { keepAlive: true, maxSockets: 1 };
    this.#agent =
      endpoint.url.protocol === "http:"
        ? new http.Agent(keep)
        : new https.Agent({ ...keep, secureContext: trustedBySystem() });
  }

  /** Sends one request. Never rejects; takes `timeoutMs` at most, and less if `signal` is aborted. */
  async send(body: Uint8Array, signal: AbortSignal): Promise<Outcome> {
    try {
      return this.#outcome(await this.#exchange(body, signal));
    } catch (error) {
      return { kind: "retry", reason: this.#endpoint.mask(messageOf(error)) };
    }
  }

  #exchange(body: Uint8Array, signal: AbortSignal): Promise<Answer> {
    const { url, headers } = this.#endpoint;
    const { promise, resolve, reject } = Promise.withResolvers<Answer>();
    const request = (url.protocol === "http:" ? http : https).request(url, {
      method: "POST",
      agent: this.#agent,
      headers: {
        "user-agent": "davit",
        ...headers,
        "content-type": this.#contentType,
        "content-length": body.length,
      },
    });
    const fail = (why: string): void => {
      request.destroy();
      reject(new Error(why));
    };
    const timer = setTimeout(
      () => fail(`did not answer within ${this.#timeoutMs / 1000} s`),
      this.#timeoutMs,
    );
    const onAbort = (): void => fail("did not answer before davit stopped");
    signal.addEventListener("abort", onAbort, { once: true });
    if (signal.aborted) onAbort();
    request.on("error", reject);
    request.on("response", (response) => {
      readAnswer(response).then(resolve, reject);
    });
    request.end(body);
    return promise.finally(() => {
      clearTimeout(timer);
      signal.removeEventListener("abort", onAbort);
    });
  }

  #outcome({ status, type, retryAfter, body }: Answer): Outcome {
    if (retryable.has(status)) {
      return { kind: "retry", reason: `answered HTTP ${status}`, afterMs: waitOf(retryAfter) };
    }
    if (status < 200 || status > 299) {
      const todo = status === 401 || status === 403 ? "; check tracing.headers" : "";
      return { kind: "rejected", reason: `answered HTTP ${status}${todo}` };
    }
    const answer = body.length === 0 ? {} : decodeAnswer(type, body);
    if (answer === undefined) {
      const reason = "its answer is not OTLP/HTTP; check tracing.endpoint";
      return { kind: "rejected", reason };
    }
    const { partialSuccess } = answer;
    if (partialSuccess === undefined) return { kind: "accepted" };
    const rejected = Number(partialSuccess.rejectedSpans);
    const reason = this.#endpoint.mask(partialSuccess.errorMessage);
    return { kind: "partial", rejected, reason };
  }

  [Symbol.dispose](): void {
    this.#agent.destroy();
  }
}

/** Made once: each connection would read the system's certificates, some 150. */
function trustedBySystem(): tls.SecureContext {
  return tls.createSecureContext({ ca: [...systemCertificates()] });
}

interface Answer {
  readonly status: number;
  readonly type: string;
  readonly retryAfter: string | undefined;
  readonly body: Buffer;
}

async function readAnswer(response: http.IncomingMessage): Promise<Answer> {
  const chunks: Buffer[] = [];
  let bytes = 0;
  for await (const chunk of response as AsyncIterable<Buffer>) {
    chunks.push(chunk);
    bytes += chunk.length;
    // The connection is closed. What was read decides.
    if (bytes > maxAnswer) break;
  }
  return {
    status: response.statusCode ?? 0,
    type: response.headers["content-type"] ?? "",
    retryAfter: response.headers["retry-after"],
    body: Buffer.concat(chunks),
  };
}

/** Undefined for what is not an answer of OTLP. */
function decodeAnswer(
  type: string,
  body: Buffer,
): Pick<ExportTraceServiceResponse, "partialSuccess"> | undefined {
  try {
    if (type.startsWith("application/json")) {
      const options = { ignoreUnknownFields: true };
      return fromJsonString(ExportTraceServiceResponseSchema, body.toString("utf8"), options);
    }
    return decodeBounded(ExportTraceServiceResponseSchema, body);
  } catch {
    return undefined;
  }
}

/** `Retry-After` in milliseconds: a number of seconds, or a date (RFC 9110, section 10.2.3). */
function waitOf(header: string | undefined): number | undefined {
  if (header === undefined) return undefined;
  if (/^\d{1,9}$/.test(header)) return Number(header) * 1000;
  const at = Date.parse(header);
  return Number.isNaN(at) ? undefined : Math.max(0, at - Date.now());
}
