import { kindOf, messageOf } from "../../base/errors.ts";
import type { CriClient } from "../../client/cri-client.ts";
import { formatDuration } from "../output/figures.ts";
import { printable } from "../output/printable.ts";

const services: Readonly<Record<string, string>> = {
  runtime: "runtime.v1.RuntimeService",
  image: "runtime.v1.ImageService",
  davit: "davit.v1.Images",
};

/**
 * The client, with a line for each of its calls at its end: the method, its time and how it failed. `write` gets
 * the lines. Calls that are still open at the end of the command have none.
 */
export function traceCalls(client: CriClient, write: (line: string) => void): CriClient {
  return new Proxy(client, {
    get: (target, name) => {
      const value: unknown = Reflect.get(target, name, target);
      // Methods of a class with private fields must not be called on the proxy.
      if (typeof value === "function") return value.bind(target) as unknown;
      if (typeof value !== "object" || value === null || typeof name !== "string") return value;
      const service = services[name] ?? `davit.v1.${name.charAt(0).toUpperCase()}${name.slice(1)}`;
      return tracedService(value, service, write);
    },
  });
}

type Method = (...args: unknown[]) => Promise<unknown> | AsyncIterable<unknown>;

function tracedService(service: object, name: string, write: (line: string) => void): object {
  return new Proxy(service, {
    get: (target, key) => {
      const value: unknown = Reflect.get(target, key);
      if (typeof value !== "function") return value;
      const method = value as Method;
      return (...args: unknown[]) => {
        const startedMs = performance.now();
        const ended = (end: string): void => {
          const took = formatDuration(performance.now() - startedMs);
          write(`${name}/${methodName(String(key))}  ${took}  ${end}`);
        };
        const answer = method(...args);
        if (answer instanceof Promise) return settled(answer, ended);
        return untilEnd(answer, ended);
      };
    },
  });
}

async function settled(answer: Promise<unknown>, ended: (end: string) => void): Promise<unknown> {
  try {
    const value = await answer;
    ended("ok");
    return value;
  } catch (error) {
    ended(failure(error));
    throw error;
  }
}

async function* untilEnd(
  answers: AsyncIterable<unknown>,
  ended: (end: string) => void,
): AsyncGenerator {
  let count = 0;
  try {
    for await (const answer of answers) {
      count += 1;
      yield answer;
    }
    ended(`ok, ${count} messages`);
  } catch (error) {
    ended(failure(error));
    throw error;
  }
}

function failure(error: unknown): string {
  return printable(`${kindOf(error)}: ${messageOf(error)}`);
}

/** The method of the service: its name in TypeScript begins with a small letter. */
function methodName(key: string): string {
  return key.charAt(0).toUpperCase() + key.slice(1);
}
