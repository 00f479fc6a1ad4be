/**
 * Clients that do everything at once, and know what is right: which contexts there must be, and
 * every answer.
 *
 * Texts are asked for by a Zipf distribution. Of each the load knows whether its context must be
 * there (it was ACTIVE), must not (its deletion was confirmed), or may be either. What changes that
 * is done alone; questions, and creating what is there already, by many at once.
 *
 * @module
 */
import { setTimeout as sleep } from "node:timers/promises";
import { createRng, type KvaultError, type Rng } from "@kvault/core";
import {
  anyUnpack,
  type Client,
  type Context,
  Context_State,
  Contexts,
  CreateContextMetadataSchema,
  createClient,
  fromRpcStatus,
  Inference,
  Operations,
  openChannel,
} from "@kvault/rpc";
import type { Findings } from "./findings.ts";
import { SharedLock } from "./shared-lock.ts";

export interface ChaosText {
  readonly text: string;
  readonly model: string;
  readonly spec: string;
  readonly maxTokens: number;
  /** The right answer to a question. */
  answer(question: string): string;
  /** Some question with a known answer. */
  drawQuestion(rng: Rng): string;
}

interface Entry extends ChaosText {
  readonly lock: SharedLock;
  /** `contexts/{id}`, once it was created. */
  name: string | undefined;
  state: "absent" | "active" | "unknown";
  /** Bytes of it at rest were changed by us, so often; since its last build. */
  damage: number;
  damageAtBuild: number;
  /** A call of ours that may still be carried out: the text is left alone until then, by performance.now(). */
  quietUntilMs: number;
}

export interface LoadOptions {
  readonly addresses: readonly string[];
  readonly texts: readonly ChaosText[];
  readonly seed: number;
  readonly numClients: number;
  readonly findings: Findings;
}

interface Gateway {
  readonly contexts: Client<typeof Contexts>;
  readonly inference: Client<typeof Inference>;
  readonly operations: Client<typeof Operations>;
  close(): void;
}

const ZIPF = 1.1;
const CALL_MS = 15_000;
const QUERY_MS = 40_000;
/** A build that is not over by then is stuck: longer than every lease, lock and pause together. */
const BUILD_MS = 150_000;
/** Longer than any wire is cut. */
const GONE_MS = 15_000;
/** For how long after its beginning a full store may be what a call or a build failed of: longer than it is full, and than a build takes. */
const FULL_MS = 60_000;
/** How long a call that failed for the moment is repeated. */
const PATIENCE_MS = 90_000;
const ACTIONS = { query: 60, batch: 8, duplicate: 10, remove: 7, abandon: 6, cancelBuild: 4, list: 5 } as const;

export class Load {
  readonly #findings: Findings;
  readonly #entries: readonly Entry[];
  readonly #gateways: readonly Gateway[];
  readonly #seed: number;
  readonly #numClients: number;
  readonly #cumulative: readonly number[];
  readonly #stopping = new AbortController();
  #fullUntilMs = 0;
  #running: Promise<unknown> = Promise.resolve();

  constructor({ addresses, texts, seed, numClients, findings }: LoadOptions) {
    this.#findings = findings;
    this.#seed = seed;
    this.#numClients = numClients;
    this.#entries = texts.map((text) => ({
      ...text,
      ...{ lock: new SharedLock(), name: undefined, state: "absent", damage: 0, damageAtBuild: 0, quietUntilMs: 0 },
    }));
    this.#gateways = addresses.map((address) => {
      const channel = openChannel(address, { keepaliveWithoutCalls: true });
      return {
        contexts: createClient(Contexts, channel),
        inference: createClient(Inference, channel),
        operations: createClient(Operations, channel),
        close: () => channel.close(),
      };
    });
    const weights = texts.map((_, rank) => 1 / (rank + 1) ** ZIPF);
    const total = weights.reduce((sum, weight) => sum + weight, 0);
    let sum = 0;
    this.#cumulative = weights.map((weight) => {
      sum += weight / total;
      return sum;
    });
  }

  start(): void {
    this.#running = Promise.all(
      Array.from({ length: this.#numClients }, (_, i) => this.#client(createRng(this.#seed * 1_000 + i))),
    );
  }

  /** Told that bytes of a context at rest are about to be changed. */
  damaged(contextId: string): void {
    const entry = this.#entries.find(({ name }) => name === `contexts/${contextId}`);
    if (entry !== undefined) entry.damage++;
  }

  /** Told that the store begins to say that it is full. */
  storeFull(): void {
    this.#fullUntilMs = performance.now() + FULL_MS;
  }

  /** Codes of failures that say what is so of the store. */
  get #ofStore(): readonly string[] {
    return performance.now() < this.#fullUntilMs ? ["STORE_FULL"] : [];
  }

  /** Lets what runs come to its end. */
  async stop(): Promise<void> {
    this.#stopping.abort();
    await this.#running;
  }

  /** What must be there is there and answers right; what must not be is not. For a cluster that is whole again. */
  async audit(): Promise<{ readonly present: ReadonlySet<string>; readonly damaged: ReadonlySet<string> }> {
    const rng = createRng(this.#seed + 1);
    const audits = this.#entries.map(async (entry) => {
      if (entry.name === undefined) return;
      const found = await this.#look(entry, rng);
      const isThere = found !== undefined && found.state !== Context_State.FAILED && found.state !== Context_State.DELETED;
      if (entry.state === "absent" && isThere) {
        this.#findings.report("halfVisible", `${entry.name} was deleted and is ${Context_State[found.state]}`);
      }
      if (entry.state === "active") await this.#ask(entry, rng, PATIENCE_MS);
      else if (found?.state === Context_State.CREATING) await this.#untilBuilt(entry, rng);
    });
    await Promise.all(audits);
    const named = this.#entries.filter(({ name }) => name !== undefined);
    return {
      present: new Set(named.filter(({ state }) => state === "active").map(({ name }) => idOf(name))),
      damaged: new Set(named.filter((entry) => entry.damage > entry.damageAtBuild).map(({ name }) => idOf(name))),
    };
  }

  close(): void {
    for (const gateway of this.#gateways) gateway.close();
  }

  async #client(rng: Rng): Promise<void> {
    while (!this.#stopping.signal.aborted) {
      await this.#act(rng);
      await sleep(rng.below(60));
    }
  }

  async #act(rng: Rng): Promise<void> {
    const entry = this.#draw(rng);
    if (performance.now() < entry.quietUntilMs) return;
    switch (weighted(rng, ACTIONS)) {
      case "query":
        return entry.lock.share(async () => {
          if (await this.#present(entry, rng)) await this.#ask(entry, rng, 0);
        });
      case "batch":
        return entry.lock.share(async () => {
          if (await this.#present(entry, rng)) await this.#askMany(entry, rng);
        });
      case "duplicate":
        return entry.lock.share(async () => {
          if (await this.#present(entry, rng)) await this.#create(entry, rng);
        });
      case "abandon":
        return entry.lock.share(async () => {
          if (await this.#present(entry, rng)) await this.#abandon(entry, rng);
        });
      case "list":
        return this.#list(rng);
      // Not by popularity: what is asked for most would be gone most of the time.
      case "remove": {
        const other = this.#entries[rng.below(this.#entries.length)] as Entry;
        return other.lock.alone(() => this.#remove(other, rng));
      }
      case "cancelBuild": {
        const other = this.#entries[rng.below(this.#entries.length)] as Entry;
        return other.lock.alone(() => this.#cancelBuild(other, rng));
      }
    }
  }

  #draw(rng: Rng): Entry {
    const at = rng.next();
    return this.#entries[this.#cumulative.findIndex((sum) => at < sum)] ?? (this.#entries[0] as Entry);
  }

  #gateway(rng: Rng): Gateway {
    return this.#gateways[rng.below(this.#gateways.length)] as Gateway;
  }

  /** `call` at one gateway after the other until one does it; undefined when none did in time, or it is `expected` to fail. */
  async #insist<T>(
    what: string,
    rng: Rng,
    call: (gateway: Gateway, deadlineMs: number) => Promise<T>,
    expected: readonly string[] = [],
    patienceMs = PATIENCE_MS,
  ): Promise<{ readonly value?: T; readonly error?: KvaultError }> {
    const startMs = performance.now();
    for (let tries = 1; ; tries++) {
      this.#findings.call(what);
      try {
        return { value: await call(this.#gateway(rng), Date.now() + CALL_MS) };
      } catch (thrown) {
        const error = this.#findings.failed(what, thrown, [...expected, ...this.#ofStore]);
        if (error === undefined) return {};
        if (!error.retryable && error.code !== "DEADLINE_EXCEEDED") return { error };
        if (performance.now() - startMs > patienceMs) return { error };
        await sleep(Math.min(1_000, 50 * 2 ** tries) * (0.5 + Math.random()));
      }
    }
  }

  async #create(entry: Entry, rng: Rng): Promise<boolean> {
    const { model, spec, text } = entry;
    const request = { model, content: { content: { case: "text" as const, value: text } }, compression: { spec } };
    const { value: operation } = await this.#insist("create", rng, ({ contexts }, deadlineMs) =>
      contexts.createContext(request, { deadlineMs }),
    );
    const metadata = operation?.metadata && anyUnpack(operation.metadata, CreateContextMetadataSchema);
    if (metadata !== undefined) entry.name = metadata.context;
    return metadata !== undefined;
  }

  /** Creates the context unless it is there; whether it is now. */
  async #present(entry: Entry, rng: Rng): Promise<boolean> {
    const startMs = performance.now();
    while (entry.state !== "active") {
      if (this.#stopping.signal.aborted) return false;
      const { damage } = entry;
      if (!(await this.#create(entry, rng))) return false;
      const context = await this.#untilBuilt(entry, rng);
      if (context?.state === Context_State.ACTIVE) {
        if ((entry.state as string) !== "active") this.#findings.builds++;
        entry.state = "active";
        entry.damageAtBuild = Math.max(entry.damageAtBuild, damage);
        return true;
      }
      if (performance.now() - startMs > BUILD_MS) {
        this.#findings.report("stuckJobs", `${entry.name}: not ACTIVE after ${BUILD_MS} ms of trying`);
        return false;
      }
      await sleep(100);
    }
    return true;
  }

  /** The context once its build is over; undefined when it is gone, or stuck. */
  async #untilBuilt(entry: Entry, rng: Rng): Promise<Context | undefined> {
    const startMs = performance.now();
    for (let waitMs = 20; ; waitMs = Math.min(500, waitMs * 1.5)) {
      const context = await this.#look(entry, rng);
      if (context === undefined) return undefined;
      if (context.state === Context_State.FAILED && context.error !== undefined) {
        this.#findings.failed(`build of ${entry.name}`, fromRpcStatus(context.error), [
          "CANCELLED",
          "CACHE_CORRUPT",
          ...this.#ofStore,
        ]);
      }
      if (context.state !== Context_State.CREATING) return context;
      if (performance.now() - startMs > BUILD_MS) {
        this.#findings.report("stuckJobs", `${entry.name} is CREATING for ${BUILD_MS} ms: ${JSON.stringify(context.progress)}`);
        return undefined;
      }
      await sleep(waitMs);
    }
  }

  /** The context as a gateway sees it; undefined when there is none. */
  async #look({ name = "" }: Entry, rng: Rng): Promise<Context | undefined> {
    const options = ["CONTEXT_NOT_FOUND"];
    return (await this.#insist("get", rng, ({ contexts }, deadlineMs) => contexts.getContext({ name }, { deadlineMs }), options))
      .value;
  }

  /** Takes a question's failure for what it is: `codes` are right only of contexts that we damaged. */
  #judge(what: string, entry: Entry, damageBefore: number, thrown: unknown): KvaultError | undefined {
    const gone = [
      "CACHE_CORRUPT",
      "CONTEXT_NOT_FOUND",
      "CONTEXT_FAILED",
      "CONTEXT_NOT_READY",
      "CONTEXT_EXPIRED",
      "CONTEXT_DELETED",
    ];
    const error = this.#findings.failed(what, thrown, gone);
    if (error === undefined || !gone.includes(error.code)) return error;
    const wasDamaged = entry.damage > entry.damageAtBuild || entry.damage > damageBefore;
    if (entry.state !== "active") return error;
    if (wasDamaged) {
      this.#findings.damageFound++;
      entry.state = "unknown";
    } else {
      this.#findings.report("lostContexts", `${entry.name} was ACTIVE, and a question got ${error.code} ${error.message}`);
      entry.state = "unknown";
    }
    return error;
  }

  async #ask(entry: Entry, rng: Rng, patienceMs: number): Promise<void> {
    const question = entry.drawQuestion(rng);
    const startMs = performance.now();
    for (;;) {
      const { damageAtBuild } = entry;
      this.#findings.call("query");
      let streamed = "";
      try {
        const request = {
          source: { case: "context" as const, value: entry.name ?? "" },
          question,
          limits: { maxTokens: entry.maxTokens },
        };
        const stream = this.#gateway(rng).inference.query(request, { deadlineMs: Date.now() + QUERY_MS });
        for await (const { event } of stream) {
          if (event.case === "delta") streamed += event.value.text;
          else if (event.case === "answer") {
            this.#check(entry, question, event.value.text, streamed);
            if (event.value.moves > 0) this.#findings.moved++;
          }
        }
        return;
      } catch (thrown) {
        this.#checkBeginning(entry, question, streamed);
        const error = this.#judge("query", entry, damageAtBuild, thrown);
        const mayTry = error !== undefined && (error.retryable || error.code === "DEADLINE_EXCEEDED");
        if (!mayTry || performance.now() - startMs > patienceMs) return;
        await sleep(200 + 300 * Math.random());
      }
    }
  }

  async #askMany(entry: Entry, rng: Rng): Promise<void> {
    const questions = Array.from({ length: 2 + rng.below(7) }, () => entry.drawQuestion(rng));
    const streamed = questions.map(() => "");
    const { damageAtBuild } = entry;
    this.#findings.call("batch");
    try {
      const request = {
        context: entry.name ?? "",
        questions: questions.map((question) => ({ question, limits: { maxTokens: entry.maxTokens } })),
      };
      const stream = this.#gateway(rng).inference.queryBatch(request, { deadlineMs: Date.now() + QUERY_MS });
      for await (const { index, event } of stream) {
        const question = questions[index] ?? "";
        if (event.case === "delta") streamed[index] += event.value.text;
        else if (event.case === "answer") this.#check(entry, question, event.value.text, streamed[index] ?? "");
        else if (event.case === "error") this.#judge("batch question", entry, damageAtBuild, fromRpcStatus(event.value));
      }
    } catch (thrown) {
      for (const [i, question] of questions.entries()) this.#checkBeginning(entry, question, streamed[i] ?? "");
      this.#judge("batch", entry, damageAtBuild, thrown);
    }
  }

  /** Leaves a stream after a moment. */
  async #abandon(entry: Entry, rng: Rng): Promise<void> {
    const question = entry.drawQuestion(rng);
    const { damageAtBuild } = entry;
    const leaving = AbortSignal.timeout(1 + rng.below(150));
    let streamed = "";
    this.#findings.call("abandoned query");
    try {
      const request = {
        source: { case: "context" as const, value: entry.name ?? "" },
        question,
        limits: { maxTokens: entry.maxTokens },
      };
      for await (const { event } of this.#gateway(rng).inference.query(request, { signal: leaving })) {
        if (event.case === "delta") streamed += event.value.text;
      }
    } catch (thrown) {
      if (!leaving.aborted) this.#judge("abandoned query", entry, damageAtBuild, thrown);
    }
    this.#checkBeginning(entry, question, streamed);
  }

  async #remove(entry: Entry, rng: Rng): Promise<void> {
    const { name } = entry;
    if (name === undefined || performance.now() < entry.quietUntilMs) return;
    const purge = rng.below(2) === 0;
    let tries = 0;
    const { error } = await this.#insist(
      "delete",
      rng,
      ({ contexts }, deadlineMs) => {
        tries++;
        return contexts.deleteContext({ name, purge }, { deadlineMs });
      },
      ["CONTEXT_NOT_FOUND"],
    );
    if (error === undefined || error.code === "CONTEXT_NOT_FOUND") {
      if (error !== undefined && tries === 1 && entry.state === "active") {
        const isDamaged = entry.damage > entry.damageAtBuild;
        if (!isDamaged) this.#findings.report("lostContexts", `${name} was ACTIVE, and could not be deleted: not found`);
      }
      entry.state = "absent";
      if (!(await this.#isGone(entry, rng))) this.#findings.report("halfVisible", `${name} is there after its deletion`);
    } else {
      entry.state = "unknown";
    }
    // A try that found no answer may still be under way somewhere.
    if (tries > 1 || error !== undefined) entry.quietUntilMs = performance.now() + CALL_MS + 10_000;
  }

  /** True once no gateway shows it: one that is cut off from the catalogue shows what it knew for that long. */
  async #isGone(entry: Entry, rng: Rng): Promise<boolean> {
    for (const startMs = performance.now(); performance.now() - startMs < GONE_MS; await sleep(500)) {
      const found = await this.#look(entry, rng);
      if (found === undefined || found.state === Context_State.DELETED) return true;
    }
    return false;
  }

  /** Creates what is not there, and takes it back at once: it must end, one way or the other. */
  async #cancelBuild(entry: Entry, rng: Rng): Promise<void> {
    if (entry.state === "active" || performance.now() < entry.quietUntilMs) return;
    if (!(await this.#create(entry, rng)) || entry.name === undefined) return;
    await sleep(rng.below(200));
    const name = `operations/${idOf(entry.name)}`;
    this.#findings.call("cancel");
    try {
      await this.#gateway(rng).operations.cancelOperation({ name }, { deadlineMs: Date.now() + CALL_MS });
    } catch (thrown) {
      this.#findings.failed("cancel", thrown, ["OPERATION_NOT_FOUND"]);
      entry.quietUntilMs = performance.now() + CALL_MS + 10_000;
    }
    const { damage } = entry;
    const context = await this.#untilBuilt(entry, rng);
    if (context?.state === Context_State.ACTIVE) {
      entry.state = "active";
      entry.damageAtBuild = Math.max(entry.damageAtBuild, damage);
    } else entry.state = "unknown";
  }

  async #list(rng: Rng): Promise<void> {
    const seen = new Set<string>();
    for (let pageToken = ""; ; ) {
      const { value } = await this.#insist(
        "list",
        rng,
        ({ contexts }, deadlineMs) => contexts.listContexts({ pageSize: 20, pageToken }, { deadlineMs }),
        [],
        0,
      );
      if (value === undefined) return;
      for (const { name, createTime } of value.contexts) {
        // Deleted and created again between two pages it is another one, and younger.
        const life = `${name} of ${createTime?.seconds}.${createTime?.nanos}`;
        if (seen.has(life)) this.#findings.report("wrongAnswers", `a list holds ${life} twice`);
        seen.add(life);
      }
      pageToken = value.nextPageToken;
      if (pageToken === "") return;
    }
  }

  #check(entry: Entry, question: string, text: string, streamed: string): void {
    this.#findings.answers++;
    const right = entry.answer(question);
    if (text !== right || streamed !== right) {
      const seen = JSON.stringify({ name: entry.name, question, right, text, streamed });
      this.#findings.report("wrongAnswers", seen);
    }
  }

  #checkBeginning(entry: Entry, question: string, streamed: string): void {
    if (!entry.answer(question).startsWith(streamed)) {
      this.#findings.report(
        "wrongAnswers",
        JSON.stringify({ name: entry.name, question, right: entry.answer(question), streamed }),
      );
    }
  }
}

function idOf(name: string | undefined): string {
  return (name ?? "").slice("contexts/".length);
}

function weighted<Name extends string>(rng: Rng, weights: Readonly<Record<Name, number>>): Name {
  const entries = Object.entries(weights) as [Name, number][];
  let left = rng.next() * entries.reduce((sum, [, weight]) => sum + weight, 0);
  for (const [name, weight] of entries) {
    left -= weight;
    if (left < 0) return name;
  }
  return entries[0]?.[0] as Name;
}
