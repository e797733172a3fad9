"""A second simulator: one step at a time, each sequence by itself, nothing skipped and nothing kept that could be
counted anew. Slow, and written from the rules of docs/serve.md rather than from the room's code."""

from math import ceil


class Request:
    def __init__(self, index, arrival, tokens, output):
        self.index, self.arrival, self.tokens, self.output = index, arrival, tokens, output
        self.cached = 0  # tokens in the KV cache
        self.goal = tokens  # tokens to be cached before it decodes
        self.given = 0
        self.times = []
        self.preempted = 0


class Engine:
    def __init__(self, profile, blocks, ranks, seconds, hit=0.0):
        self.p, self.blocks, self.seconds, self.hit = profile, blocks, seconds, hit
        self.waiting = [[] for _ in range(ranks)]
        self.running = [[] for _ in range(ranks)]  # in order of admission to decoding, prompts after them
        self.peak, self.most_tokens = 0, 0

    def size(self, tokens):
        return ceil(tokens / self.p.kv_block)

    def held(self, rank, ahead):
        """Blocks: prompts hold theirs whole; decodes hold what is cached, and the token they are about to add."""
        decoding = [r for r in self.running[rank] if r.cached >= r.goal]
        prompts = [r for r in self.running[rank] if r.cached < r.goal]
        return sum(self.size(r.cached + ahead) for r in decoding) + sum(self.size(r.goal) for r in prompts)

    def ends(self, rank):
        return sum(self.size(r.tokens + r.output - 1) for r in self.running[rank])

    def admit(self, rank, r):
        if len(self.running[rank]) >= min(self.p.max_num_seqs, self.p.max_num_batched_tokens):
            return False
        own = self.size(r.tokens + r.output - 1)
        if self.ends(rank) + own <= self.blocks:
            return True
        if self.p.reserve >= 1:
            return False
        used, need = self.held(rank, 1), self.size(r.tokens + r.given + 1)
        spare = self.p.reserve * (self.ends(rank) - used + own - need) if self.p.reserve else 0.01 * self.blocks
        return used + need + max(0, spare) <= self.blocks

    def evict(self, rank):
        evicted = False
        if self.ends(rank) <= self.blocks or not any(r.cached >= r.goal for r in self.running[rank]):
            return False
        while self.held(rank, 1) > self.blocks and len(self.running[rank]) > 1:
            prompts = [r for r in self.running[rank] if r.cached < r.goal]
            decoding = [r for r in self.running[rank] if r.cached >= r.goal]
            r = (prompts or decoding)[-1]
            self.running[rank].remove(r)
            r.cached, r.preempted = 0, r.preempted + 1
            self.waiting[rank].insert(0, r)
            evicted = True
        return evicted

    def schedule(self, rank):
        """(chunks, decodes) of one rank."""
        evicted = self.evict(rank)
        decoding = [r for r in self.running[rank] if r.cached >= r.goal]
        budget = self.p.max_num_batched_tokens - (len(decoding) if self.p.mixed else 0)
        whole, chunks = budget, []

        def take(r):
            nonlocal budget
            left = r.goal - r.cached
            n = min(left, budget)
            if n <= 0 or (not self.p.chunked_prefill and n < left <= whole):
                return False
            chunks.append((r, n))
            budget -= n
            return True

        for r in self.running[rank]:
            if r.cached < r.goal:
                take(r)
        while self.waiting[rank] and not evicted:
            r = self.waiting[rank][0]
            if not self.admit(rank, r):
                break
            r.goal = r.tokens + r.given
            r.cached = min(int(self.hit * r.tokens) // self.p.kv_block * self.p.kv_block, r.tokens - 1)
            if not take(r):
                r.cached = 0
                break
            self.waiting[rank].pop(0)
            self.running[rank].append(r)
        return chunks, decoding if self.p.mixed or not chunks else []

    def step(self, now, deliver):
        """(end, requests done), or None where nothing is to be done. ``deliver`` queues what arrives before the end,
        while those that end with this step still count."""
        plans = [self.schedule(rank) for rank in range(len(self.running))]
        tokens = [sum(n for _, n in chunks) + len(decodes) for chunks, decodes in plans]
        if not any(tokens):
            return None
        prefill = max(sum(n for _, n in chunks) for chunks, _ in plans)
        pairs = max(sum(n * r.cached + n * n / 2 for r, n in chunks) for chunks, _ in plans)
        decode = max(len(decodes) for _, decodes in plans)
        context = max(sum(r.cached + 1 for r in decodes) for _, decodes in plans)
        worked = prefill + decode
        padded = decode if prefill else self.p.padded(decode)
        gpu = self.seconds(prefill, pairs, padded, context, sum(tokens) / worked * (prefill + padded))
        host = self.p.host_step + self.p.host_sequence * (decode + max(len(c) for c, _ in plans))
        end, done = now + gpu + host, []
        deliver(end)
        self.most_tokens = max(self.most_tokens, *tokens)
        for rank, (chunks, decodes) in enumerate(plans):
            self.peak = max(
                self.peak,
                sum(
                    self.size(r.cached + (r in decodes)) if r.cached >= r.goal else self.size(r.goal)
                    for r in self.running[rank]
                ),
            )
            for r in decodes:
                r.cached += 1
                r.given += 1
                r.times.append(end)
            for r, n in chunks:
                r.cached += n
                if r.cached == r.goal:
                    r.given += 1
                    r.times.append(end)
            for r in [r for r in self.running[rank] if r.given == r.output]:
                self.running[rank].remove(r)
                done.append(r)
            # prompts that are through join the decodes, in that order
            self.running[rank].sort(key=lambda r: r.cached < r.goal)
        return end, done


def serve(engine, inputs, outputs, concurrency):
    """A closed loop; the requests, with the moments of their tokens."""
    requests, now, coming = [], 0.0, []

    def submit(at):
        if len(requests) < len(inputs):
            r = Request(len(requests), at, inputs[len(requests)], outputs[len(requests)])
            requests.append(r)
            coming.append((at + engine.p.host_request, r.index, r))

    for _ in range(concurrency):
        submit(0.0)

    def deliver(until):
        coming.sort(key=lambda c: c[:2])
        while coming and coming[0][0] <= until:
            loads = [len(w) + len(r) for w, r in zip(engine.waiting, engine.running, strict=True)]
            engine.waiting[loads.index(min(loads))].append(coming.pop(0)[2])

    while True:
        deliver(now)
        found = engine.step(now, deliver)
        if found is None:
            if not coming:
                return requests
            now = max(now, coming[0][0])
            continue
        now, done = found
        for _ in done:
            submit(now)
