-- The tables of a state folder. The only truth about them; the words of states and outcomes are
-- those of docs/state-machine.md, and the CHECKs make illegal rows impossible.

create table migration (
    number integer primary key,             -- the version that it led to
    digest text not null                    -- of what was done: another corral may have done otherwise
);

create table run (
    id integer primary key autoincrement,   -- never given twice: tickets carry it
    name text not null unique,
    folder text not null,                   -- of the command, absolute
    skeleton text not null,
    words text not null,                    -- JSON list, as typed
    source text not null,                   -- run.toml
    options text not null,                  -- JSON of model.run.Options
    generation integer not null default 0,
    state text not null default 'preparing'
        check (state in ('preparing', 'open', 'paused', 'halted', 'cancelled', 'done')),
    reason text not null default '',        -- why it is paused, or halted by itself
    detached integer not null default 0,    -- goes on without a follower
    picky integer not null default 0,       -- 1: not every host will do, or a task takes more than a slot
    trusted integer not null default 0,     -- an operator said "go on": no more pausing by itself
    served_s real not null default 0,       -- since the last beginning, if it has a --run-timeout
    failed_before integer not null default 0, -- failed tasks at the last beginning: --halt forgives them
    ended_before integer not null default 0,
    submission text,                        -- JSON, while preparing: what a restarted master finishes
    created real not null,                  -- seconds since 1970, UTC, like every time here
    opened real,
    ended real,
    check ((submission is not null) = (state = 'preparing')),
    unique (folder, skeleton, name)
);
create index run_picky on run (state) where picky;
create index run_busy on run (state) where state in ('preparing', 'open');

create table generation (
    run_id integer not null references run (id) on delete cascade,
    number integer not null,
    digest text not null,                   -- of the bytes that every task gets
    names text not null,                    -- JSON list of the parameters' names
    inputs text not null,                   -- JSON list of protocol.Input
    tasks integer not null default 0,       -- named by the latest command
    last_number integer not null default 0, -- highest task number given
    successes integer not null default 0,   -- what they taught (scheduler.stragglers.Learned):
    typical_s real,                         -- running mean of successful attempts' seconds
    log_mean real not null default 0,       -- the same of their natural logarithm
    log_deviation real not null default 0,  -- mean distance from it
    submission integer not null default 1,  -- rises with each command of this generation
    created real not null,
    primary key (run_id, number)
) without rowid;

-- What a generation's tasks run; stands apart because values may make it long, and each look at a
-- generation (every new task's foreign key is one) would read all of them.
create table command (
    run_id integer not null,
    generation integer not null,
    text text not null,                     -- JSON of model.command.Command
    unique (run_id, generation),
    foreign key (run_id, generation) references generation (run_id, number) on delete cascade
);

-- Values of its axes, if they are long, until all tasks are in.
create table axis_values (
    run_id integer not null,
    generation integer not null,
    axis integer not null,                  -- its place among the command's, from 0
    start integer not null,                 -- of the piece, in bytes
    piece blob not null,                    -- of a JSON list of texts
    unique (run_id, generation, axis, start),
    foreign key (run_id, generation) references generation (run_id, number) on delete cascade
);

-- shipped files that belong to one value of an axis, by the place they have in a task's folder
create table value_input (
    run_id integer not null,
    generation integer not null,
    path text not null,
    sha256 text not null,
    size integer not null,
    mode integer not null,
    primary key (run_id, generation, path),
    foreign key (run_id, generation) references generation (run_id, number) on delete cascade
) without rowid;

create table task (
    id integer primary key,
    run_id integer not null,
    generation integer not null,
    number integer not null,                -- 1..N, never changes
    key text not null,                      -- identity.task_key
    position integer,                       -- in the latest command; null: not named by it
    named_by integer not null default 1,    -- generation.submission that named it last
    params text not null,                   -- JSON list of the values' texts
    rep integer not null,
    k integer not null,                     -- counts equal settings
    input_digest text not null default '',  -- of this task's own shipped files
    state text not null default 'waiting'
        check (state in ('waiting', 'active', 'done', 'failed', 'cancelled', 'skipped', 'parked',
                         'held')),
    reason text not null default '',
    next_reason text not null default 'first'
        check (next_reason in ('first', 'lost', 'failed', 'straggler', 'rejected', 'asked')),
    epoch integer not null default 0,       -- rises when results so far stop counting (rerun, changed input)
    attempts integer not null default 0,
    charged integer not null default 0,     -- failures that count against its retries
    accepted integer references attempt (id),
    check ((state = 'done') = (accepted is not null)),
    unique (run_id, generation, key),
    unique (run_id, generation, number),
    foreign key (run_id, generation) references generation (run_id, number) on delete cascade
);
create index task_waiting on task (run_id, position) where state = 'waiting';
create unique index task_accepted on task (accepted) where accepted is not null;
create index task_position on task (run_id, generation, position);

create table run_count (
    run_id integer not null references run (id) on delete cascade,
    generation integer not null,
    state text not null,
    n integer not null default 0,
    primary key (run_id, generation, state)
) without rowid;

-- Counters are deltas kept in the same transaction, so that progress costs O(1). Submission counts
-- its own inserts (5,000 at a time); every later change of state passes here.
create trigger task_counted after update of state, position on task
when old.state is not new.state or (old.position is null) is not (new.position is null)
begin
    update run_count set n = n - 1
        where run_id = old.run_id and generation = old.generation and state = old.state
          and old.position is not null;
    insert into run_count (run_id, generation, state, n)
        select new.run_id, new.generation, new.state, 1 where new.position is not null
        on conflict do update set n = n + 1;
end;

create table host (
    id integer primary key,
    name text not null unique,
    state text not null default 'new'
        check (state in ('new', 'joining', 'probation', 'up', 'suspect', 'lost', 'quarantined',
                         'draining', 'gone', 'unreachable')),
    reason text not null default '',
    note text not null default '',          -- what is odd about it though it works
    short text not null default '',         -- why it starts nothing for now: its disk is full
    unclean text not null default '',       -- processes that could not be killed
    keeper integer,                         -- the master that holds its connection
    slots integer not null default 1,
    spec text not null default '{}',        -- JSON of model.host.HostSpec: how it is reached
    facts text not null default '{}'        -- JSON of protocol.Facts
);

create table agent (
    incarnation text primary key,
    host_id integer not null references host (id),
    state text not null default 'starting'  -- bye: it has said so, and may still be there
        check (state in ('starting', 'up', 'bye', 'ended')),
    request integer not null default 0,     -- the newest exchange number that counted
    folder text not null default '',
    slots integer not null default 1,       -- 0: as many as its host has cores, once that is known
    started real not null,
    ended real
) without rowid;

create table attempt (
    id integer primary key,
    ticket text not null unique,
    task_id integer not null references task (id) on delete cascade,
    number integer not null,                -- 1, 2, … of its task
    epoch integer not null,
    reason text not null
        check (reason in ('first', 'lost', 'failed', 'straggler', 'rejected', 'asked')),
    incarnation text not null references agent (incarnation),
    host_id integer not null references host (id),
    granted_by integer not null,            -- number of the exchange whose reply carries it
    state text not null default 'leased'
        check (state in ('leased', 'running', 'reported', 'ended')),
    outcome text
        check (outcome in ('accepted', 'rejected', 'superseded', 'failed', 'lost', 'killed',
                           'returned')),
    kind text check (kind in ('spawn', 'env', 'exit', 'signal', 'oom', 'timeout', 'output')),
    blame text check (blame in ('task', 'host')),
    digest text,                            -- of its report
    slot integer,
    exit integer,
    signal integer,
    message text not null default '',
    progress text not null default '',      -- the last line it wrote to CORRAL_PROGRESS
    kill integer not null default 0,        -- asked for: the next reply says so
    unjudged integer not null default 0,    -- how often a check could not say whether it is valid
    leased real not null,
    started real,
    ended real,
    seconds real,
    cpu_s real,
    peak_kb integer,
    check ((outcome is not null) = (state = 'ended')),
    check (state != 'reported' or digest is not null)
);
create unique index attempt_of_task on attempt (task_id, number);
create unique index attempt_accepted on attempt (task_id) where outcome = 'accepted';
create index attempt_live on attempt (incarnation, granted_by)
    where state in ('leased', 'running', 'reported');
create index attempt_to_judge on attempt (id) where state = 'reported';

-- A run that goes on, for whatever reason, has what could not be judged looked at again.
create trigger run_opened after update of state on run
when new.state = 'open' and old.state != 'open'
begin
    update attempt set unjudged = 0 where state = 'reported' and unjudged > 0
        and task_id in (select id from task where run_id = new.id);
end;

create table output (
    attempt_id integer primary key references attempt (id) on delete cascade,
    stdout blob not null default x'',       -- the whole of it when stdout_sha256 is empty
    stdout_size integer not null default 0,
    stdout_sha256 text not null default '',
    stderr blob not null default x'',
    stderr_size integer not null default 0,
    stderr_sha256 text not null default '',
    result text not null default ''         -- what it wrote to CORRAL_RESULT: JSON, or k=v lines
);

create table file (
    attempt_id integer not null references attempt (id) on delete cascade,
    n integer not null,                     -- as the agent numbered it, from 2
    name text not null,
    size integer not null,
    sha256 text not null,
    mode integer not null,
    primary key (attempt_id, n)
) without rowid;

-- which hosts a run may use, and how each did in it, for blame
create table host_run (
    host_id integer not null references host (id) on delete cascade,
    run_id integer not null references run (id) on delete cascade,
    wanted integer not null default 0,      -- the latest command names it
    unfit text not null default '',         -- why it can never run a task of the run
    successes integer not null default 0,
    blamed integer not null default 0,      -- failures blamed on the host
    streak integer not null default 0,      -- failures since its last success
    log_mean real,                          -- of its successes' seconds, as in generation
    primary key (host_id, run_id)
) without rowid;
create index host_of_run on host_run (run_id) where wanted;

-- failures of a generation by kind, for telling a bad command from a bad host
create table failure_count (
    run_id integer not null references run (id) on delete cascade,
    generation integer not null,
    kind text not null,
    host_id integer not null,
    n integer not null default 0,
    primary key (run_id, generation, kind, host_id)
) without rowid;

create table event (
    id integer primary key,
    at real not null,
    kind text not null,
    run_id integer,                         -- no reference: an event outlives what it tells of
    run text not null default '',
    host text not null default '',
    tickets text not null default '[]',
    text text not null default ''
);
create index event_run on event (run_id, id);
