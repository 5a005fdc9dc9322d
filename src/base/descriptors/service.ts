import type { DescMessage, DescMethod, DescService } from "@bufbuild/protobuf";
import {
  bytesIn,
  Declaration,
  Described,
  deprecated,
  type Encoded,
  findType,
  numberIn,
  option,
  propertyName,
  read,
  textIn,
} from "./encoded.ts";

const ofService = { method: 2, options: 3 } as const;
const ofMethod = {
  name: 1,
  input: 2,
  output: 3,
  options: 4,
  fromClient: 5,
  fromServer: 6,
} as const;

interface Parts {
  readonly deprecated: boolean;
  readonly methods: DescMethod[];
  readonly method: Record<string, DescMethod>;
}

/** A service, whose methods are read when they are first used. */
export class ProtoService extends Declaration<Parts> implements DescService {
  readonly kind = "service";

  get deprecated(): boolean {
    return this.parts.deprecated;
  }
  get methods(): DescMethod[] {
    return this.parts.methods;
  }
  get method(): Record<string, DescMethod> {
    return this.parts.method;
  }

  override toString(): string {
    return `service ${this.typeName}`;
  }

  protected readParts(fields: Encoded): Parts {
    const methods: DescMethod[] = bytesIn(fields, ofService.method).map(
      (each) => new ProtoMethod(read(each), this),
    );
    return {
      deprecated: option(fields, ofService.options, deprecated.service) === 1,
      methods,
      method: Object.fromEntries(methods.map((each) => [each.localName, each])),
    };
  }
}

class ProtoMethod extends Described {
  readonly kind = "rpc";
  readonly parent: DescService;
  readonly localName: string;
  readonly methodKind: DescMethod["methodKind"];
  readonly input: DescMessage;
  readonly output: DescMessage;
  // Not known.
  readonly idempotency = 0 as unknown as DescMethod["idempotency"];
  readonly deprecated: boolean;

  constructor(encoded: Encoded, parent: DescService) {
    super(textIn(encoded, ofMethod.name));
    this.parent = parent;
    this.localName = propertyName(this.name.slice(0, 1).toLowerCase() + this.name.slice(1));
    this.methodKind = methodKind(encoded);
    this.input = findType(parent.file, "messages", textIn(encoded, ofMethod.input));
    this.output = findType(parent.file, "messages", textIn(encoded, ofMethod.output));
    this.deprecated = option(encoded, ofMethod.options, deprecated.method) === 1;
  }

  override toString(): string {
    return `rpc ${this.parent.typeName}.${this.name}`;
  }
}

function methodKind(encoded: Encoded): DescMethod["methodKind"] {
  const fromServer = numberIn(encoded, ofMethod.fromServer) === 1;
  if (numberIn(encoded, ofMethod.fromClient) !== 1)
    return fromServer ? "server_streaming" : "unary";
  return fromServer ? "bidi_streaming" : "client_streaming";
}
