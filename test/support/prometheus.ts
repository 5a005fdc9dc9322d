/** Scrapes of a daemon's metrics, and Prometheus' own programs. */
import { existsSync } from "node:fs";
import { type IncomingHttpHeaders, request } from "node:http";
import path from "node:path";

const cache = path.resolve(import.meta.dirname, "../../node_modules/.cache/prometheus/usr/bin");

/** The path of a program of Debian's packages prometheus and promtool. Throws if it is not there. */
export function prometheusProgram(name: "prometheus" | "promtool"): string {
  const directories = [...(process.env["PATH"] ?? "").split(":"), cache];
  const found = directories.map((each) => path.join(each, name)).find((file) => existsSync(file));
  if (found !== undefined) return found;
  throw new Error(`find ${name}: it is missing; run: sh scripts/setup.sh --test`);
}

/** An answer of the metrics endpoint. */
export interface Answer {
  readonly status: number;
  readonly headers: IncomingHttpHeaders;
  readonly body: Buffer;
}

/** Where a metrics endpoint is: as in http.request(). */
export type Endpoint =
  | { readonly host: string; readonly port: number }
  | { readonly socketPath: string };

/** Requests a path of the endpoint. */
export function ask(
  endpoint: Endpoint,
  target = "/metrics",
  options: { readonly method?: string; readonly headers?: Readonly<Record<string, string>> } = {},
): Promise<Answer> {
  return new Promise((resolve, reject) => {
    const asked = request({ ...endpoint, path: target, agent: false, ...options }, (response) => {
      const chunks: Buffer[] = [];
      response.on("data", (chunk: Buffer) => chunks.push(chunk));
      response.once("error", reject);
      response.once("end", () => {
        const { statusCode = 0, headers } = response;
        resolve({ status: statusCode, headers, body: Buffer.concat(chunks) });
      });
    });
    asked.once("error", reject);
    asked.end();
  });
}

/** The samples of a scrape by name and labels, as the text has them: `davit_images` or `x{a="b"}`. */
export function samplesOf(text: string): ReadonlyMap<string, number> {
  const lines = text.split("\n").filter((line) => line !== "" && !line.startsWith("#"));
  return new Map(
    lines.map((line) => {
      const at = line.lastIndexOf(" ");
      return [line.slice(0, at), Number(line.slice(at + 1).replace("+Inf", "Infinity"))];
    }),
  );
}
