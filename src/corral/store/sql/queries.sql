-- event_add --
-- Append a decision: at, kind, run_id, run, host, tickets, text.
insert into event (at, kind, run_id, run, host, tickets, text) values (?1, ?2, ?3, ?4, ?5, ?6, ?7)

-- run_of_skeleton --
-- The latest run of this folder and skeleton; ?3 a name it must have, '' for any.
select id, name, state, generation from run
where folder = ?1 and skeleton = ?2 and (?3 = '' or name = ?3) order by id desc limit 1

-- run_named --
-- Is the name taken?
select id from run where name = ?1

-- run_new --
-- A run before its first generation.
insert into run (name, folder, skeleton, words, source, options, state, submission, created)
values (?1, ?2, ?3, '[]', '', '{}', 'preparing', '{}', ?4)

-- run_prepare --
-- A submission begins: the run hands out nothing until run_open.
update run set words = ?2, source = ?3, options = ?4, generation = ?5, detached = ?6,
    picky = ?8, submission = ?7, state = 'preparing', reason = '', ended = null
where id = ?1

-- run_open --
-- All tasks of the submission are in.
update run set state = ?2, submission = null, opened = ?3,
    ended = case when ?2 = 'done' then ?3 end
where id = ?1 and state = 'preparing'

-- run_preparing --
-- Submissions that a master left half-written, each with its command: run_id, generation, texts of both.
select r.id, r.generation, r.submission, c.text from run r
join command c on c.run_id = r.id and c.generation = r.generation
where r.state = 'preparing' order by r.id

-- run_state --
-- State, name, generation, submission's kind of follower.
select state, name, generation, detached from run where id = ?1

-- run_set --
-- Change the state if it still is one of ?4 (a JSON list): id, state, reason, from, ended.
update run set state = ?2, reason = ?3, ended = ?5
where id = ?1 and state in (select value from json_each(?4))

-- run_trust --
-- An operator said "go on": the run does not pause by itself any more.
update run set trusted = 1 where id = ?1

-- run_begin_limits --
-- A new beginning for --run-timeout and --halt: a submission, or an operator said "go on".
update run set served_s = 0,
    failed_before = (select coalesce(sum(n), 0) from run_count c where c.run_id = run.id
        and c.generation = run.generation and c.state = 'failed'),
    ended_before = (select coalesce(sum(n), 0) from run_count c where c.run_id = run.id
        and c.generation = run.generation and c.state in ('done', 'failed'))
where id = ?1

-- run_failures --
-- Tasks of the latest command that failed, that ended, since the last beginning; how many then were left.
select f.failed - r.failed_before, f.ended - r.ended_before, g.tasks - r.ended_before
from run r join generation g on g.run_id = r.id and g.number = r.generation
join (select coalesce(sum(c.n) filter (where c.state = 'failed'), 0) failed,
        coalesce(sum(c.n) filter (where c.state in ('done', 'failed')), 0) ended
      from run_count c join run x on x.id = c.run_id and x.generation = c.generation
      where c.run_id = ?1) f
where r.id = ?1

-- runs_serve --
-- Open runs with a limit of time have been served for so long, in seconds.
update run set served_s = served_s + ?1
where state = 'open' and json_extract(options, '$.limits.run_timeout_s') is not null

-- runs_overdue --
-- Open runs that have been served for as long as they may: id, name, options.
select id, name, options from run
where state = 'open' and served_s >= json_extract(options, '$.limits.run_timeout_s')

-- runs_timed --
-- Whether any open run has a limit of time.
select exists (select 1 from run where state = 'open'
    and json_extract(options, '$.limits.run_timeout_s') is not null)

-- run_delete --
-- A run with all its tasks, attempts and outputs.
delete from run where id = ?1

-- run_finish --
-- The run is done when nothing waits or is active.
update run set state = 'done', reason = '', ended = ?2
where id = ?1 and state in ('open', 'paused', 'halted') and not exists (
    select 1 from run_count c where c.run_id = run.id and c.generation = run.generation
        and c.state in ('waiting', 'active') and c.n > 0)

-- run_forget_submission --
-- A half-written submission is dropped: the run is as if it had been cancelled.
update run set state = 'cancelled', submission = null where id = ?1 and state = 'preparing'

-- generation_get --
-- digest, inputs, submission, last_number.
select digest, inputs, submission, last_number from generation
where run_id = ?1 and number = ?2

-- generation_new --
-- A fresh start: run_id, number, digest, names, inputs, created.
insert into generation (run_id, number, digest, names, inputs, created)
values (?1, ?2, ?3, ?4, ?5, ?6)

-- generation_again --
-- The next command of the same generation.
update generation set submission = submission + 1, inputs = ?3
where run_id = ?1 and number = ?2

-- command_put --
-- What the tasks of a generation run from now on: run_id, generation, text.
insert into command (run_id, generation, text) values (?1, ?2, ?3)
on conflict (run_id, generation) do update set text = excluded.text

-- axis_values_put --
-- A piece of an axis' values: run_id, generation, place of the axis, where the piece begins, bytes.
insert into axis_values (run_id, generation, axis, start, piece) values (?1, ?2, ?3, ?4, ?5)

-- axis_values --
-- All pieces in their order: place of the axis, bytes.
select axis, piece from axis_values where run_id = ?1 and generation = ?2 order by axis, start

-- axis_values_drop --
-- All tasks have their own.
delete from axis_values where run_id = ?1 and generation = ?2

-- generation_filled --
-- A batch is in: tasks named so far, highest number given.
update generation set tasks = ?3, last_number = ?4 where run_id = ?1 and number = ?2

-- generation_learn --
-- What the successes taught: successes, typical_s, log_mean, log_deviation.
update generation set successes = ?3, typical_s = ?4, log_mean = ?5, log_deviation = ?6
where run_id = ?1 and number = ?2

-- generation_learned --
-- successes, typical_s, log_mean, log_deviation.
select successes, typical_s, log_mean, log_deviation from generation
where run_id = ?1 and number = ?2

-- host_run_learn --
-- How long its successes take: host_id, run_id, mean logarithm of new ones, their weight.
update host_run set log_mean = coalesce(log_mean + ?4 * (?3 - log_mean), ?3)
where host_id = ?1 and run_id = ?2

-- generation_retire --
-- Tasks of older generations that would still run: they never will.
update task set state = 'cancelled', reason = 'a newer generation began'
where run_id = ?1 and generation < ?2 and state in ('waiting', 'active', 'parked', 'held')

-- value_input_put --
-- run_id, generation, path, sha256, size, mode.
insert into value_input (run_id, generation, path, sha256, size, mode)
values (?1, ?2, ?3, ?4, ?5, ?6)
on conflict do update set sha256 = excluded.sha256, size = excluded.size, mode = excluded.mode

-- value_input_get --
-- sha256, size, mode of a shipped file that belongs to one value.
select sha256, size, mode from value_input where run_id = ?1 and generation = ?2 and path = ?3

-- task_of_keys --
-- Those of the keys (a JSON list) that the generation has.
select t.key, t.id, t.state, t.input_digest, t.accepted, t.position
from json_each(?3) j cross join task t  -- cross: SQLite keeps this order, and uses the index
where t.run_id = ?1 and t.generation = ?2 and t.key = j.value

-- task_new --
-- run_id, generation, named_by, rows (a JSON list): number, key, position, params, rep, k, input_digest.
-- One statement for all: the interpreter is free meanwhile to make the next rows.
insert into task (run_id, generation, named_by, number, key, position, params, rep, k, input_digest)
select ?1, ?2, ?3, json_extract(value, '$[0]'), json_extract(value, '$[1]'),
    json_extract(value, '$[2]'), json_extract(value, '$[3]'), json_extract(value, '$[4]'),
    json_extract(value, '$[5]'), json_extract(value, '$[6]')
from json_each(?4)

-- task_keep --
-- It is named again: id, position, named_by.
update task set position = ?2, named_by = ?3 where id = ?1

-- task_again --
-- It waits again, its failures forgiven: id, position, named_by, input_digest, epochs to add.
update task set position = ?2, named_by = ?3, input_digest = ?4, epoch = epoch + ?5,
    state = case when exists (select 1 from attempt a where a.task_id = task.id
        and a.epoch = task.epoch + ?5 and a.state in ('leased', 'running', 'reported'))
        then 'active' else 'waiting' end,
    accepted = null, reason = '', charged = 0,
    next_reason = case when attempts = 0 then 'first' else 'asked' end
where id = ?1

-- task_unname --
-- Tasks that the latest command does not name: run_id, generation, submission.
update task set position = null, state = case when state = 'waiting' then 'skipped' else state end
where run_id = ?1 and generation = ?2 and named_by < ?3 and position is not null

-- run_count_add --
-- Count inserted tasks: run_id, generation, state, n.
insert into run_count (run_id, generation, state, n) values (?1, ?2, ?3, ?4)
on conflict do update set n = n + ?4

-- run_counts --
-- Tasks by state.
select state, n from run_count where run_id = ?1 and generation = ?2 and n > 0

-- attempt_supersede --
-- An accepted attempt stops counting (rerun, changed input).
update attempt set outcome = 'superseded' where id = ?1 and outcome = 'accepted'

-- host_of_name --
-- id, state, slots.
select id, state, slots from host where name = ?1

-- host_new --
-- A host that was named for the first time.
insert into host (name, slots, keeper) values (?1, ?2, ?3)

-- host_set --
-- State and reason.
update host set state = ?2, reason = ?3 where id = ?1

-- host_join --
-- An agent is about to be started there: id, why the try before failed, whether a quarantine stays.
update host set state = 'joining', reason = ?2 where id = ?1 and not (?3 and state = 'quarantined')

-- host_leave --
-- State and reason, as the last agent on it has left it; a quarantine stays.
update host set state = ?2, reason = ?3 where id = ?1 and state != 'quarantined'

-- host_slots --
-- How many tasks it may run at once.
update host set slots = ?2 where id = ?1

-- host_facts --
-- What its agent found there.
update host set facts = ?2 where id = ?1

-- host_spec --
-- How it is reached, as the latest command has it.
update host set spec = ?2 where id = ?1

-- host_note --
-- What is odd about it though it works.
update host set note = ?2 where name = ?1 and note != ?2

-- host_short --
-- Why it starts nothing for now: id, text.
update host set short = ?2 where id = ?1 and short != ?2

-- host_unclean --
-- What of ours may still be there: id, text.
update host set unclean = ?2 where id = ?1 and unclean != ?2

-- host_expect --
-- It is about to be tried: what kept it away may be over.
update host set state = 'joining', reason = '', note = ''
where name = ?1 and state in ('new', 'unreachable', 'gone')

-- host_prove --
-- It has succeeded: its probation is over.
update host set state = 'up', reason = '' where id = ?1 and state = 'probation'

-- host_suspect --
-- Nothing is heard of it: id, why.
update host set state = 'suspect', reason = ?2
where id = ?1 and state in ('joining', 'probation', 'up')

-- host_probe --
-- A quarantined host may show that it works.
update host set state = 'probation' where id = ?1 and state = 'quarantined'

-- hosts_usable --
-- Hosts of a run that take work or may soon; if it is not open, those too that went home meanwhile.
select count(*) from host_run u join host h on h.id = u.host_id join run r on r.id = u.run_id
where u.run_id = ?1 and u.wanted and u.unfit = ''
    and (h.state in ('joining', 'probation', 'up', 'suspect')
         or (h.state = 'gone' and r.state != 'open'))

-- hosts_awaited --
-- Hosts that are being reached for a run, when it was opened: run_id, from, to.
select count(*) from run r join host_run u on u.run_id = r.id
join host h on h.id = u.host_id
where r.id = ?1 and r.opened between ?2 and ?3
    and u.wanted and u.unfit = '' and h.state = 'joining'

-- hosts_silent --
-- Whether any host is suspect.
select exists (select 1 from host where state = 'suspect')

-- hosts_quarantined --
-- id, name.
select id, name from host where state = 'quarantined'

-- hosts_of_run --
-- The hosts that a run may use: name, state, reason, note, short, unclean, spec, facts, why it never can.
select h.name, h.state, h.reason, h.note, h.short, h.unclean, h.spec, h.facts, u.unfit
from host_run u join host h on h.id = u.host_id
where u.run_id = ?1 and u.wanted order by h.id

-- hosts_known --
-- Every host, as `hosts_of_run`.
select name, state, reason, note, short, unclean, spec, facts, '' from host order by id

-- run_forget_hosts --
-- The next command says which hosts the run may use.
update host_run set wanted = 0 where run_id = ?1

-- host_run_want --
-- The run may use a host: host_id, run_id, why it never can.
insert into host_run (host_id, run_id, wanted, unfit) values (?1, ?2, 1, ?3)
on conflict do update set wanted = 1, unfit = excluded.unfit

-- host_run_fit --
-- What its agent found says whether a host can run a run's tasks at all: host_id, run_id, why not.
update host_run set unfit = ?3 where host_id = ?1 and run_id = ?2 and unfit != ?3

-- host_offer --
-- What is known of what a host has: spec, facts, 1 = an agent has looked and is there.
select spec, facts, state not in ('new', 'joining', 'unreachable', 'gone') from host where id = ?1

-- runs_picky --
-- Runs for which not every host will do, and that may use this one: id, generation. Also those that
-- have ended: a rerun asks no host again.
select r.id, r.generation from run r join host_run u on u.run_id = r.id and u.host_id = ?1 and u.wanted
where r.picky

-- tickets_counted --
-- How many tickets of each run and generation an agent has; nothing while no run is picky.
select t.run_id, t.generation, count(*) from attempt a join task t on t.id = a.task_id
where exists (select 1 from run where picky and state != 'done') and a.incarnation = ?1
    and a.state in ('leased', 'running', 'reported')  -- as the index has it, or it is not used
    and a.state != 'reported'
group by t.run_id, t.generation

-- agent_new --
-- incarnation, host_id, folder, slots, started.
insert into agent (incarnation, host_id, folder, slots, started) values (?1, ?2, ?3, ?4, ?5)

-- agent_get --
-- host_id, host's name, state, request, slots, host's state, folder, slots that the user gave the host, why the host starts nothing.
select a.host_id, h.name, a.state, a.request, a.slots, h.state, a.folder,
    json_extract(h.spec, '$.slots'), h.short from agent a
join host h on h.id = a.host_id where a.incarnation = ?1

-- agents_live --
-- Agents that have not ended.
select a.incarnation, a.host_id, h.name, a.request, a.state, a.folder, a.slots from agent a
join host h on h.id = a.host_id where a.state != 'ended' order by a.started

-- agent_beside --
-- Whether a host (?1) has another agent than this one (?2).
select exists (select 1 from agent
               where host_id = ?1 and incarnation != ?2 and state not in ('bye', 'ended'))

-- agents_left --
-- Whether agents may live that no master has tried in vain to see gone.
select exists (select 1 from agent a join host h on h.id = a.host_id
               where a.state != 'ended' and h.unclean = '')

-- agent_number --
-- Fence: exchange ?2 counts from now on, if nothing newer did.
update agent set request = ?2, state = case when state = 'starting' then 'up' else state end
where incarnation = ?1 and request < ?2 and state != 'ended'

-- agent_slots --
-- Slots of an agent.
update agent set slots = ?2 where incarnation = ?1

-- agent_folder --
-- Where it lives on its host.
update agent set folder = ?2 where incarnation = ?1

-- agent_bye --
-- It has nothing left to say; it is gone when its keeper has seen so.
update agent set state = 'bye' where incarnation = ?1 and state != 'ended'

-- agent_end --
-- It is gone.
update agent set state = 'ended', ended = ?2 where incarnation = ?1 and state != 'ended'

-- agent_revive --
-- A dead incarnation gets a second life to hand in its spool.
update agent set state = 'starting', ended = null where incarnation = ?1

-- attempts_known --
-- The attempts of these tickets (a JSON list), with what judging them needs.
select a.ticket, a.id, a.task_id, a.state, a.outcome, a.incarnation, a.digest, a.epoch, a.number,
    a.host_id, t.state, t.epoch, t.run_id, t.generation, t.number, t.charged, r.generation,
    r.state, r.name, a.reason
from json_each(?1) j cross join attempt a cross join task t cross join run r
where a.ticket = j.value and t.id = a.task_id and r.id = t.run_id

-- attempt_known --
-- The same by the attempt's id.
select a.ticket, a.id, a.task_id, a.state, a.outcome, a.incarnation, a.digest, a.epoch, a.number,
    a.host_id, t.state, t.epoch, t.run_id, t.generation, t.number, t.charged, r.generation,
    r.state, r.name, a.reason
from attempt a
join task t on t.id = a.task_id
join run r on r.id = t.run_id
where a.id = ?1

-- attempts_live --
-- What an agent should hold: ticket, id, state, granted_by, wanted (0 = kill it), open (0 = give it back unless it was started), done (another attempt gave the result).
select a.ticket, a.id, a.state, a.granted_by,
    not (a.kill or a.epoch < t.epoch or t.generation < r.generation
         or t.state not in ('waiting', 'active', 'failed') or r.state = 'cancelled'),
    r.state in ('open', 'preparing'), t.state = 'done' and a.epoch = t.epoch
from attempt a
join task t on t.id = a.task_id
join run r on r.id = t.run_id
where a.incarnation = ?1
    and a.state in ('leased', 'running', 'reported')  -- as the index has it, or it is not used
    and a.state != 'reported'
order by a.id

-- attempt_new --
-- ticket, task_id, number, epoch, reason, incarnation, host_id, granted_by, leased.
insert into attempt (ticket, task_id, number, epoch, reason, incarnation, host_id, granted_by,
                     leased)
values (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)

-- attempt_grant_again --
-- It was never received: another reply carries it: id, number.
update attempt set granted_by = ?2 where id = ?1 and state = 'leased'

-- attempt_running --
-- It was started: id, when.
update attempt set state = 'running', started = ?2 where id = ?1 and state = 'leased'

-- attempt_report --
-- Its report came; not judged yet: id, digest, slot, exit, signal, kind, message, started, ended, seconds, cpu_s, peak_kb.
update attempt set state = 'reported', outcome = null, digest = ?2, slot = ?3, exit = ?4,
    signal = ?5, kind = ?6, message = ?7, started = ?8, ended = ?9, seconds = ?10, cpu_s = ?11,
    peak_kb = ?12
where id = ?1 and (state in ('leased', 'running') or outcome = 'lost')

-- attempt_end --
-- It is judged: id, outcome, message (null keeps it), blame, ended.
update attempt set state = 'ended', outcome = ?2, message = coalesce(?3, message), blame = ?4,
    ended = coalesce(ended, ?5)
where id = ?1 and state != 'ended'

-- attempt_accept --
-- Reported and accepted in one commit: id, digest, slot, exit, message, started, ended, seconds, cpu_s, peak_kb.
update attempt set state = 'ended', outcome = 'accepted', digest = ?2, slot = ?3, exit = ?4,
    message = ?5, started = ?6, ended = ?7, seconds = ?8, cpu_s = ?9, peak_kb = ?10
where id = ?1 and (state in ('leased', 'running') or outcome = 'lost')

-- attempt_progress --
-- The last line it wrote of its progress: ticket, incarnation, line.
update attempt set progress = ?3
where ticket = ?1 and incarnation = ?2 and state in ('leased', 'running') and progress != ?3

-- attempts_live_of_task --
-- How many attempts of the task are under way, other than ?2.
select count(*) from attempt where task_id = ?1 and id != ?2
    and state in ('leased', 'running', 'reported')

-- attempts_kill_of_run --
-- Ask for the end of what runs of a run, or may still run on a host that was given up.
update attempt set kill = 1 where (state in ('leased', 'running') or outcome = 'lost')
    and task_id in (select id from task
                    where run_id = ?1 and attempts > 0
                        and state in ('waiting', 'active', 'failed', 'parked'))

-- attempts_to_judge --
-- Reported attempts after ?1 that a check must see, unless it could not say three times.
select a.id, t.run_id, t.generation, t.number, t.params, t.rep, t.k, a.ticket, h.name, a.message
from attempt a
join task t on t.id = a.task_id
join host h on h.id = a.host_id
where a.state = 'reported' and a.id > ?1 and a.unjudged < 3 order by a.id limit ?2

-- attempt_no_verdict --
-- A check could not say.
update attempt set unjudged = unjudged + 1 where id = ?1 and state = 'reported'

-- attempts_give_up --
-- Nobody waits for verdicts on a run's results, until it goes on.
update attempt set unjudged = 3
where state = 'reported' and task_id in (select id from task where run_id = ?1)

-- attempt_given_up --
-- Is it looked at no more, until the run goes on?
select unjudged >= 3 from attempt where id = ?1

-- task_lease --
-- It is handed out: id.
update task set state = 'active', attempts = attempts + 1 where id = ?1 and state = 'waiting'

-- task_active --
-- An attempt of it that was given up has reported after all: it is not to go out meanwhile.
update task set state = 'active' where id = ?1 and state = 'waiting' and epoch = ?2

-- task_accept --
-- Its result: id, attempt, epoch. Once only.
update task set state = 'done', accepted = ?2, reason = ''
where id = ?1 and accepted is null and epoch = ?3 and state in ('waiting', 'active', 'failed', 'parked')

-- task_begun --
-- Whether any attempt of it may have been started: those that came back unstarted were not.
select exists (select 1 from attempt where task_id = ?1
    and not (outcome is 'returned' and started is null))

-- task_wait --
-- It goes back to the queue: id, why the next attempt, failures to charge, what is told of it.
update task set state = 'waiting', next_reason = ?2, charged = charged + ?3, reason = ?4
where id = ?1 and state = 'active'

-- task_fail --
-- It has failed for good: id, reason, failures to charge.
update task set state = 'failed', reason = ?2, charged = charged + ?3
where id = ?1 and state in ('active', 'waiting')

-- task_skip --
-- Its program says that there is nothing to do for it: id, reason.
update task set state = 'skipped', reason = ?2 where id = ?1 and state in ('active', 'waiting')

-- runs_waiting --
-- Runs that have something to hand out to a host, those with least under way first.
select r.id, r.generation, g.submission, w.n, g.typical_s, g.successes from run r
join host_run u on u.run_id = r.id and u.host_id = ?1 and u.wanted and u.unfit = ''
join generation g on g.run_id = r.id and g.number = r.generation
join run_count w on w.run_id = r.id and w.generation = r.generation and w.state = 'waiting'
left join run_count a on a.run_id = r.id and a.generation = r.generation and a.state = 'active'
where r.state = 'open' and w.n > 0 order by coalesce(a.n, 0), r.id

-- tasks_waiting --
-- The next tasks of a run for a host: run_id, host_id, limit, tasks (a JSON list) that its agent has,
-- failures in a row that end the wait for a quarantined host. One that failed a task gets it again only
-- when every usable host has; if that was blamed on it, when those in quarantine have that are waited for.
select t.id, t.number, t.attempts, t.epoch, t.next_reason, t.generation from task t
where t.run_id = ?1 and t.state = 'waiting'
    and t.id not in (select value from json_each(?4)) and (
    t.attempts = 0
    or not exists (select 1 from attempt a where a.task_id = t.id and a.host_id = ?2
                   and a.outcome in ('failed', 'rejected') and a.epoch = t.epoch)
    or not exists (select 1 from host_run u join host h on h.id = u.host_id
                   where u.run_id = ?1 and u.wanted and u.unfit = ''
                   and (h.state in ('joining', 'probation', 'up', 'suspect')
                        or (h.state = 'quarantined' and u.streak < ?5
                            and exists (select 1 from attempt a where a.task_id = t.id
                                        and a.host_id = ?2 and a.blame = 'host'
                                        and a.epoch = t.epoch)))
                   and not exists (select 1 from attempt a
                                   where a.task_id = t.id and a.host_id = h.id
                                   and a.outcome in ('failed', 'rejected') and a.epoch = t.epoch)))
order by t.position limit ?3

-- tasks_silent --
-- Tasks that only silent hosts have, for another one: host_id, limit, tasks (a JSON list) that its agent has.
select t.id, t.number, t.attempts, t.epoch, 'straggler', t.generation, t.run_id from host s
join attempt a on a.host_id = s.id and a.state in ('leased', 'running')
join task t on t.id = a.task_id and t.state = 'active' and t.epoch = a.epoch
join run r on r.id = t.run_id and r.generation = t.generation and r.state = 'open'
join host_run u on u.run_id = r.id and u.host_id = ?1 and u.wanted and u.unfit = ''
where s.state = 'suspect' and s.id != ?1
    and t.id not in (select value from json_each(?3)) and not exists (
    select 1 from attempt x join host h on h.id = x.host_id
    where x.task_id = t.id and x.epoch = t.epoch and (
        (x.state in ('leased', 'running', 'reported') and h.state != 'suspect')
        or (x.host_id = ?1 and x.outcome in ('failed', 'rejected'))))
group by t.id order by t.id limit ?2

-- tasks_late --
-- Those of the tasks of late attempts (a JSON list of tickets) that another host may try: host_id, limit, twins that a task may have had, tasks (a JSON list) that its agent has.
select t.id, t.number, t.attempts, t.epoch, 'straggler', t.generation, t.run_id, a.ticket
from json_each(?1) j cross join attempt a cross join task t cross join run r
join host_run u on u.run_id = r.id and u.host_id = ?2 and u.wanted and u.unfit = ''
where a.ticket = j.value and t.id = a.task_id and r.id = t.run_id and a.host_id != ?2
    and a.state = 'running' and t.state = 'active' and t.epoch = a.epoch
    and r.state = 'open' and r.generation = t.generation
    and not exists (
        select 1 from attempt x where x.task_id = t.id and x.epoch = t.epoch and x.id != a.id
            and (x.state in ('leased', 'running', 'reported')
                 or (x.host_id = ?2 and x.outcome in ('failed', 'rejected'))))
    and (select count(*) from attempt x where x.task_id = t.id and x.epoch = t.epoch
         and x.reason = 'straggler') < ?4
    and t.id not in (select value from json_each(?5))
order by j.key limit ?3

-- tickets_stuck --
-- Those of some tickets (a JSON list) that wait elsewhere and that a host may try, and whether it gave
-- their task back before: host_id, tasks (a JSON list) that its agent has.
select a.ticket, a.incarnation,
    exists (select 1 from attempt x where x.task_id = t.id and x.epoch = t.epoch
                and x.host_id = ?2 and x.outcome = 'returned')
from json_each(?1) j cross join attempt a cross join task t cross join run r
join host h on h.id = a.host_id and h.state not in ('suspect', 'lost')
join host_run u on u.run_id = r.id and u.host_id = ?2 and u.wanted and u.unfit = ''
where a.ticket = j.value and t.id = a.task_id and r.id = t.run_id and a.host_id != ?2
    and a.state = 'leased' and t.state = 'active' and t.epoch = a.epoch
    and r.state = 'open' and r.generation = t.generation
    and t.id not in (select value from json_each(?3))
    and not exists (
        select 1 from attempt x where x.task_id = t.id and x.epoch = t.epoch and x.id != a.id
            and (x.state in ('leased', 'running', 'reported')
                 or (x.host_id = ?2 and x.outcome in ('failed', 'rejected'))))
order by j.key

-- task_twin --
-- It is handed out once more while an attempt of it is under way.
update task set attempts = attempts + 1 where id = ?1 and state = 'active'

-- attempts_still_wanted --
-- Which of these tickets (a JSON list) were given up while their agent (?2) has them or their report, and may still give the task's result; with its id.
select a.ticket, t.id from json_each(?1) j cross join attempt a cross join task t cross join run r
where a.ticket = j.value and t.id = a.task_id and r.id = t.run_id and a.incarnation = ?2
    and a.outcome = 'lost' and not a.kill and a.epoch = t.epoch and t.generation = r.generation
    and t.state in ('waiting', 'active', 'failed', 'parked') and r.state != 'cancelled'

-- leases --
-- What the reply to exchange ?2 of an agent carries.
select a.ticket, a.number, t.run_id, t.generation, t.number, t.params, t.rep, t.k from attempt a
join task t on t.id = a.task_id
where a.incarnation = ?1 and a.granted_by = ?2
    and a.state in ('leased', 'running', 'reported')  -- as the index has it, or it is not used
    and a.state = 'leased'
order by a.id

-- task_ooms --
-- How often the task of attempt ?1 (its ticket) had too little memory before.
select count(*) from attempt a join attempt x on x.task_id = a.task_id and x.epoch = a.epoch
where a.ticket = ?1 and x.number < a.number and x.kind = 'oom' and x.outcome = 'failed'

-- part --
-- What the leases of a run share: name, folder, options, names, command, inputs, tasks.
select r.name, r.folder, r.options, g.names, c.text, g.inputs, g.tasks
from run r join generation g on g.run_id = r.id and g.number = ?2
join command c on c.run_id = r.id and c.generation = ?2 where r.id = ?1

-- generation_submission --
-- Which command of the generation is the latest.
select submission from generation where run_id = ?1 and number = ?2

-- run_learned --
-- typical_s and successes of a generation; the run's options and trust.
select g.typical_s, g.successes, r.options, r.trusted from run r
join generation g on g.run_id = r.id and g.number = ?2 where r.id = ?1

-- output_put --
-- attempt_id, stdout, its size and sha256, stderr, its size and sha256, CORRAL_RESULT.
insert into output (attempt_id, stdout, stdout_size, stdout_sha256, stderr, stderr_size,
                    stderr_sha256, result)
values (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8) on conflict do nothing

-- file_put --
-- attempt_id, n, name, size, sha256, mode.
insert into file (attempt_id, n, name, size, sha256, mode) values (?1, ?2, ?3, ?4, ?5, ?6)
on conflict do nothing

-- files_of_attempt --
-- What came home with an attempt.
select name, size, sha256, mode from file where attempt_id = ?1 order by n

-- host_run_success --
-- A host did a task of a run: host_id, run_id, how many.
insert into host_run (host_id, run_id, successes) values (?1, ?2, ?3)
on conflict do update set successes = successes + ?3, streak = 0

-- host_run_blame --
-- A failure is blamed on the host.
insert into host_run (host_id, run_id, blamed, streak) values (?1, ?2, 1, 1)
on conflict do update set blamed = blamed + 1, streak = streak + 1

-- host_run_speed --
-- Mean logarithm of its successes' seconds, null if there are none.
select log_mean from host_run where host_id = ?1 and run_id = ?2

-- host_run_get --
-- successes, blamed, streak.
select successes, blamed, streak from host_run where host_id = ?1 and run_id = ?2

-- host_run_others --
-- Has another host succeeded in this run?
select exists (select 1 from host_run where run_id = ?2 and host_id != ?1 and successes > 0)

-- hosts_untried --
-- Hosts of a run (?4) other than ?2 that have not failed the task: those of `hosts_usable`, and those
-- in quarantine with fewer than ?5 failures in a row.
select count(*) from host_run u join host h on h.id = u.host_id join run r on r.id = u.run_id
where u.run_id = ?4 and u.wanted and u.unfit = '' and h.id != ?2
    and (h.state in ('joining', 'probation', 'up', 'suspect')
         or (h.state = 'quarantined' and u.streak < ?5)
         or (h.state = 'gone' and r.state != 'open')) and not exists (
    select 1 from attempt a where a.task_id = ?1 and a.host_id = h.id
        and a.outcome in ('failed', 'rejected') and a.epoch = ?3)

-- failure_count_add --
-- run_id, generation, kind, host_id.
insert into failure_count (run_id, generation, kind, host_id, n) values (?1, ?2, ?3, ?4, 1)
on conflict do update set n = n + 1

-- failure_counts --
-- kind, how often, on how many hosts.
select kind, sum(n), count(*) from failure_count where run_id = ?1 and generation = ?2 group by kind

-- failure_counts_clear --
-- Start counting anew.
delete from failure_count where run_id = ?1

-- task_charge --
-- A failure counts while another attempt goes on: id, failures to charge.
update task set charged = charged + ?2 where id = ?1

-- host_name --
-- What the user calls it.
select name from host where id = ?1

-- hosts_killed --
-- Names of the hosts that were given up while the task was running on them.
select distinct h.name from attempt a join host h on h.id = a.host_id
where a.task_id = ?1 and a.epoch = ?2 and a.outcome = 'lost' and a.started is not null
order by h.id

-- task_park --
-- It is not handed out any more until an operator says so: id, reason.
update task set state = 'parked', reason = ?2 where id = ?1 and state = 'waiting'

-- tasks_cancel --
-- Tasks of a JSON list of ids that are not ended.
update task set state = 'cancelled', reason = 'cancelled'
where id in (select value from json_each(?1)) and state in ('waiting', 'active', 'parked', 'held')

-- tasks_cancel_all --
-- All tasks of a generation that are not ended.
update task set state = 'cancelled', reason = 'cancelled'
where run_id = ?1 and generation = ?2 and state in ('waiting', 'active', 'parked', 'held')

-- tasks_retry --
-- Tasks of a JSON list of ids wait again, their failures forgiven; one that somebody still has is
-- active: its end is awaited before it is handed out anew.
update task set state = case when exists (select 1 from attempt a where a.task_id = task.id
        and a.epoch = task.epoch and a.state in ('leased', 'running', 'reported'))
        then 'active' else 'waiting' end,
    reason = '', charged = 0,
    next_reason = case when attempts = 0 then 'first' else 'asked' end
where id in (select value from json_each(?1))
    and state in ('failed', 'cancelled', 'skipped', 'parked', 'held')

-- tasks_retry_all --
-- The same for all that the latest command names.
update task set state = case when exists (select 1 from attempt a where a.task_id = task.id
        and a.epoch = task.epoch and a.state in ('leased', 'running', 'reported'))
        then 'active' else 'waiting' end,
    reason = '', charged = 0,
    next_reason = case when attempts = 0 then 'first' else 'asked' end
where run_id = ?1 and generation = ?2 and position is not null
    and state in ('failed', 'cancelled', 'parked')

-- attempts_supersede --
-- Accepted attempts of a JSON list of tasks stop counting.
update attempt set outcome = 'superseded'
where outcome = 'accepted' and task_id in (select value from json_each(?1))

-- tasks_rerun --
-- Tasks of a JSON list of ids wait again; what reports from before is superseded.
update task set state = 'waiting', accepted = null, epoch = epoch + 1, reason = '', charged = 0,
    next_reason = case when attempts = 0 then 'first' else 'asked' end
where id in (select value from json_each(?1))

-- run_live_attempts --
-- How many attempts of a run are under way; what no check can judge is not, nor what is not wanted
-- of a host that is not heard: it may be gone for good.
select count(*) from attempt a join task t on t.id = a.task_id join host h on h.id = a.host_id
where t.run_id = ?1
    and (a.state in ('leased', 'running') or (a.state = 'reported' and a.unjudged < 3))
    and not ((a.kill or t.state in ('done', 'cancelled'))
             and h.state in ('suspect', 'lost', 'unreachable'))

-- run_detach --
-- It goes on without a follower.
update run set detached = 1 where id = ?1

-- runs --
-- Every run with the shape of its latest generation.
select r.id, r.name, r.folder, r.state, r.reason, r.generation, r.words, r.options,
    coalesce(g.tasks, 0), r.created, r.opened, r.ended, g.typical_s, r.detached
from run r left join generation g on g.run_id = r.id and g.number = r.generation
order by r.id

-- run --
-- One run with the shape of its latest generation.
select r.id, r.name, r.folder, r.state, r.reason, r.generation, r.words, r.options,
    coalesce(g.tasks, 0), r.created, r.opened, r.ended, g.typical_s, r.detached
from run r left join generation g on g.run_id = r.id and g.number = r.generation
where r.id = ?1

-- run_names --
-- id and name of every run, the latest submitted last.
select r.id, r.name from run r order by coalesce(r.opened, r.created), r.id

-- run_source --
-- The text that repeats the run.
select source from run where id = ?1

-- runs_busy --
-- Runs that are not at rest: id, state, detached.
select id, state, detached from run where state in ('preparing', 'open')

-- runs_at_rest --
-- What runs came to that nothing happens to now: id, generation, state, opened, ended.
select id, generation, state, opened, ended from run
where state in ('done', 'halted', 'paused', 'cancelled')

-- run_at_rest --
-- The same of one run.
select id, generation, state, opened, ended from run
where id = ?1 and state in ('done', 'halted', 'paused', 'cancelled')

-- generation_shape --
-- names, command, inputs.
select g.names, c.text, g.inputs from generation g
join command c on c.run_id = g.run_id and c.generation = g.number
where g.run_id = ?1 and g.number = ?2

-- tasks --
-- Tasks of a generation from a number on, with the attempt that tells most: run_id, generation, number after which, limit, 1 = also those not named by the latest command.
select t.id, t.number, t.position, t.params, t.rep, t.state, t.reason, t.attempts, t.charged,
    h.name, a.seconds, a.exit
from task t
left join attempt a on a.id = coalesce(t.accepted,
    (select max(x.id) from attempt x where x.task_id = t.id))
left join host h on h.id = a.host_id
where t.run_id = ?1 and t.generation = ?2 and t.number > ?3 and (?5 or t.position is not null)
order by t.number limit ?4

-- task_numbered --
-- One task by its number.
select t.id, t.number, t.position, t.params, t.rep, t.state, t.reason, t.attempts, t.charged,
    h.name, a.seconds, a.exit
from task t
left join attempt a on a.id = coalesce(t.accepted,
    (select max(x.id) from attempt x where x.task_id = t.id))
left join host h on h.id = a.host_id
where t.run_id = ?1 and t.generation = ?2 and t.number = ?3

-- task_k --
-- Which of equal settings a task is.
select k from task where id = ?1

-- attempts_of_task --
-- All attempts of a task, the first first.
select a.ticket, t.number, a.number, a.reason, h.name, a.slot, a.state, a.outcome, a.kind, a.exit,
    a.signal, a.message, a.leased, a.started, a.ended, a.seconds, a.cpu_s, a.peak_kb,
    a.progress
from attempt a join task t on t.id = a.task_id join host h on h.id = a.host_id
where a.task_id = ?1 order by a.number

-- attempts_of_run --
-- All attempts of a generation in the order of tasks and attempts.
select a.ticket, t.number, a.number, a.reason, h.name, a.slot, a.state, a.outcome, a.kind, a.exit,
    a.signal, a.message, a.leased, a.started, a.ended, a.seconds, a.cpu_s, a.peak_kb,
    a.progress
from task t join attempt a on a.task_id = t.id join host h on h.id = a.host_id
where t.run_id = ?1 and t.generation = ?2 order by t.number, a.number

-- attempts_running --
-- What runs now: ticket, task's number, host, when it started, incarnation, state, progress.
select a.ticket, t.number, h.name, coalesce(a.started, a.leased), a.incarnation, a.state, a.progress
from attempt a join task t on t.id = a.task_id join host h on h.id = a.host_id
where t.run_id = ?1 and a.state in ('leased', 'running') order by a.id

-- results --
-- Tasks with what they left, in the order of the latest command: run_id, generation, 1 = those that it
-- does not name, by number. The index gives the order: nothing is sorted.
select t.number, t.position, t.params, t.rep, t.state, t.reason, a.ticket, a.number, h.name, a.exit,
    a.signal, a.kind, a.outcome, a.seconds, a.cpu_s, a.peak_kb,
    o.stdout_size, o.stdout, o.stdout_sha256, o.stderr_size, o.stderr, o.stderr_sha256, o.result, a.id,
    exists (select 1 from file f where f.attempt_id = a.id)
from task t
left join attempt a on a.id = coalesce(t.accepted,
    (select max(x.id) from attempt x where x.task_id = t.id))
left join output o on o.attempt_id = a.id
left join host h on h.id = a.host_id
where t.run_id = ?1 and t.generation = ?2 and (t.position is null) = ?3
order by t.position, t.number

-- printed --
-- Done tasks with their stdout alone, as `results`.
select t.number, o.stdout, o.stdout_size, o.stdout_sha256
from task t join output o on o.attempt_id = t.accepted
where t.run_id = ?1 and t.generation = ?2 and t.state = 'done' and (t.position is null) = ?3
order by t.position, t.number

-- result_of_task --
-- The same of one task.
select t.number, t.position, t.params, t.rep, t.state, t.reason, a.ticket, a.number, h.name, a.exit,
    a.signal, a.kind, a.outcome, a.seconds, a.cpu_s, a.peak_kb,
    o.stdout_size, o.stdout, o.stdout_sha256, o.stderr_size, o.stderr, o.stderr_sha256, o.result, a.id,
    exists (select 1 from file f where f.attempt_id = a.id)
from task t
left join attempt a on a.id = coalesce(t.accepted,
    (select max(x.id) from attempt x where x.task_id = t.id))
left join output o on o.attempt_id = a.id
left join host h on h.id = a.host_id
where t.id = ?1

-- result_of_attempt --
-- The same of one attempt, whatever became of it.
select t.number, t.position, t.params, t.rep, t.state, t.reason, a.ticket, a.number, h.name, a.exit,
    a.signal, a.kind, a.outcome, a.seconds, a.cpu_s, a.peak_kb,
    o.stdout_size, o.stdout, o.stdout_sha256, o.stderr_size, o.stderr, o.stderr_sha256, o.result, a.id,
    exists (select 1 from file f where f.attempt_id = a.id)
from attempt a join task t on t.id = a.task_id
left join output o on o.attempt_id = a.id
left join host h on h.id = a.host_id
where a.id = ?1

-- attempt_newest --
-- The highest id so far.
select coalesce(max(id), 0) from attempt

-- attempts_open --
-- What is under way, of any run.
select id from attempt where state in ('leased', 'running', 'reported')

-- attempts_after --
-- Attempts with a higher id than ?1: id, run, outcome, when it ended.
select a.id, t.run_id, a.outcome, a.ended from attempt a join task t on t.id = a.task_id
where a.id > ?1 order by a.id limit ?2

-- attempts_standing --
-- The same of those in a JSON list of ids.
select a.id, t.run_id, a.outcome, a.ended
from json_each(?1) j cross join attempt a cross join task t
where a.id = j.value and t.id = a.task_id

-- attempt_of_task --
-- The attempt of that number.
select id from attempt where task_id = ?1 and number = ?2

-- hosts --
-- Every host with what it did: run_id (null: all).
select h.id, h.name, h.state, h.reason, h.note, h.short, h.unclean, h.slots, h.facts,
    coalesce((select unfit from host_run where host_id = h.id and run_id = ?1 and wanted), ''),
    (select count(*) from attempt a where a.host_id = h.id and a.state in ('leased', 'running')),
    (select coalesce(sum(successes), 0) from host_run u where u.host_id = h.id),
    (select coalesce(sum(blamed), 0) from host_run u where u.host_id = h.id)
from host h
where ?1 is null
    or h.id in (select host_id from host_run where run_id = ?1 and (wanted or successes or blamed))
order by h.id

-- events --
-- Decisions about a run, the latest first: run_id (null: all), limit.
select id, at, kind, run, host, tickets, text from event
where ?1 is null or run_id = ?1 order by id desc limit ?2

-- events_of_ticket --
-- Decisions that name a ticket.
select e.id, e.at, e.kind, e.run, e.host, e.tickets, e.text
from event e, json_each(e.tickets) j where j.value = ?1 order by e.id

-- tickets_kept --
-- Those of some tickets (JSON) whose agent has not ended: it may still bring what belongs to them.
select a.ticket from json_each(?1) given
join attempt a on a.ticket = given.value
join agent g on g.incarnation = a.incarnation where g.state != 'ended'

-- blobs_used --
-- Content that some result or shipped file still needs.
select sha256 from file union select stdout_sha256 from output where stdout_sha256 != ''
union select stderr_sha256 from output where stderr_sha256 != ''
union select sha256 from value_input
union select json_extract(value, '$.sha256') from generation, json_each(generation.inputs)

-- ticket_holder --
-- Which agent an attempt was given to, if its report is still to come.
select incarnation from attempt
where ticket = ?1 and (state in ('leased', 'running') or outcome = 'lost')

-- audit_file --
-- What SQLite finds wrong with the file; one row 'ok' if nothing.
select * from pragma_integrity_check(20)

-- audit_references --
-- Rows that refer to rows which are not there.
select "table", rowid, "parent" from pragma_foreign_key_check()

-- audit_done --
-- Done tasks whose accepted attempt is none of theirs, of an older epoch, or did not succeed.
select r.name, t.number from task t join run r on r.id = t.run_id
left join attempt a on a.id = t.accepted and a.task_id = t.id and a.epoch = t.epoch
    and a.outcome = 'accepted'
where t.state = 'done' and a.id is null

-- audit_accepted --
-- Accepted attempts that are not their task's result.
select r.name, t.number, a.number from attempt a
join task t on t.id = a.task_id join run r on r.id = t.run_id
where a.outcome = 'accepted' and t.accepted is not a.id

-- audit_failed_result --
-- Accepted attempts that did not end well.
select r.name, t.number, a.number from attempt a
join task t on t.id = a.task_id join run r on r.id = t.run_id
where a.outcome = 'accepted' and (a.exit is not 0 or a.kind is not null)

-- audit_active --
-- Active tasks that nobody has.
select r.name, t.number from task t join run r on r.id = t.run_id
where t.state = 'active' and not exists (
    select 1 from attempt a where a.task_id = t.id and a.state in ('leased', 'running', 'reported'))

-- audit_waiting --
-- Waiting tasks that somebody has.
select r.name, t.number from task t join run r on r.id = t.run_id
join attempt a on a.task_id = t.id and a.state in ('leased', 'running', 'reported')
    and a.epoch = t.epoch
where t.state = 'waiting'

-- audit_leases --
-- Attempts under way that were given to an agent which has ended.
select r.name, t.number, a.number from attempt a join agent g on g.incarnation = a.incarnation
join task t on t.id = a.task_id join run r on r.id = t.run_id
where a.state in ('leased', 'running') and g.state = 'ended'

-- audit_numbers --
-- Tasks whose attempts are not numbered 1, 2, ….
select r.name, t.number from task t join run r on r.id = t.run_id
where t.attempts != (select count(*) from attempt a where a.task_id = t.id)
    or t.attempts != coalesce((select max(a.number) from attempt a where a.task_id = t.id), 0)

-- audit_reasons --
-- Attempts whose recorded reason cannot be: a first one that is not, or another that is first.
select r.name, t.number, a.number from attempt a
join task t on t.id = a.task_id join run r on r.id = t.run_id
where a.reason = 'first' and exists (
    select 1 from attempt b where b.task_id = a.task_id and b.number < a.number
        and not (b.outcome = 'returned' and b.started is null))

-- audit_counts --
-- Counters that differ from a recount.
select r.name, r.generation, s.state, coalesce(c.n, 0), coalesce(k.n, 0) from run r
join (select distinct state from task union select distinct state from run_count) s
left join run_count c on c.run_id = r.id and c.generation = r.generation and c.state = s.state
left join (select run_id, generation, state, count(*) n from task where position is not null
           group by run_id, generation, state) k
    on k.run_id = r.id and k.generation = r.generation and k.state = s.state
where coalesce(c.n, 0) != coalesce(k.n, 0)

-- audit_finished --
-- Done runs that have tasks left.
select r.name, count(*) from run r
join task t on t.run_id = r.id and t.generation = r.generation and t.position is not null
where r.state = 'done' and t.state in ('waiting', 'active') group by r.id

-- audit_ends --
-- Attempts that ended at no time, or before they began.
select r.name, t.number, a.number from attempt a
join task t on t.id = a.task_id join run r on r.id = t.run_id
where a.state = 'ended' and a.ended is null

-- blobs_expected --
-- Content with the size it must have: sha256, size (null: not known).
select sha256, size from file
union select stdout_sha256, stdout_size from output where stdout_sha256 != ''
union select stderr_sha256, stderr_size from output where stderr_sha256 != ''
union select sha256, size from value_input
union select json_extract(value, '$.sha256'), json_extract(value, '$.size')
    from generation, json_each(generation.inputs)
