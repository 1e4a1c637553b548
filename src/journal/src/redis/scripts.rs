//! The Lua scripts: everything that must happen at once in Redis.
//!
//! Each begins with `#!lua`, so that a full, read-only or loading server refuses it before it has
//! done anything (`docs/journal.md` 3). Ids are strings: Lua's numbers are doubles.

use std::sync::OnceLock;

/// A script, and the digest that calls it.
pub(super) struct Lua {
    source: &'static str,
    digest: OnceLock<String>,
}

impl Lua {
    const fn new(source: &'static str) -> Self {
        Self { source, digest: OnceLock::new() }
    }

    /// What `SCRIPT LOAD` takes.
    pub(super) fn source(&self) -> &'static str {
        self.source
    }

    /// What `EVALSHA` takes: the source's SHA-1 in hex.
    pub(super) fn digest(&self) -> &str {
        self.digest.get_or_init(|| ::redis::Script::new(self.source).get_hash().into())
    }
}

/// Compare and append. Keys: journal, head. Arguments: previous id, new id, bytes.
pub(super) static APPEND: Lua = Lua::new(
    "#!lua
local head = redis.call('GET', KEYS[2])
if head == ARGV[2] then return 'DUP' end
if not head then return 'NOHEAD' end
if head ~= ARGV[1] then return 'CONFLICT ' .. head end
local added = redis.pcall('XADD', KEYS[1], 'NOMKSTREAM', ARGV[2], 'b', ARGV[3])
if not added then return 'NOSTREAM' end
if type(added) == 'table' then return 'REJECTED ' .. tostring(added.err) end
redis.call('SET', KEYS[2], ARGV[2])
return 'OK'
",
);

/// Begins a journal where there is none. Keys: journal, head, meta. Arguments: first id, bytes,
/// cluster, incarnation, format.
pub(super) static GENESIS: Lua = Lua::new(
    "#!lua
if redis.call('EXISTS', KEYS[1], KEYS[2], KEYS[3]) > 0 then return 'EXISTS' end
redis.call('XADD', KEYS[1], ARGV[1], 'b', ARGV[2])
redis.call('SET', KEYS[2], ARGV[1])
redis.call('HSET', KEYS[3], 'cluster', ARGV[3], 'incarnation', ARGV[4], 'genesis', ARGV[1],
  'format', ARGV[5])
return 'OK'
",
);

/// Removes the oldest entries. Keys: journal, meta. Arguments: first entry that stays, the id of the
/// entry that says so, most. Answers the oldest entry then.
///
/// Sequences are numbers here, exact up to 2^53. What may leave is kept beside the journal before
/// it does: what is missing beyond that is found by the checks.
pub(super) static TRIM: Lua = Lua::new(
    "#!lua
if #redis.call('XRANGE', KEYS[1], ARGV[2], ARGV[2]) == 0 then return {'UNKNOWN'} end
local first, floor = tonumber(ARGV[1]), tonumber(redis.call('HGET', KEYS[2], 'floor') or '1')
if first > floor then redis.call('HSET', KEYS[2], 'floor', ARGV[1]) end
local id = redis.call('XRANGE', KEYS[1], '-', '+', 'COUNT', 1)[1][1]
local oldest = tonumber(string.match(id, '^%d+'))
local to = math.min(first, oldest + tonumber(ARGV[3]))
if to > oldest then
  redis.call('XTRIM', KEYS[1], 'MINID', '=', string.format('%.0f', to))
  oldest = to
end
return {'OLDEST', string.format('%.0f', oldest)}
",
);

/// What the journal's keys say, at one instant. Keys: journal, head, meta. Answers types of the
/// three, head, last id, length, first id, cluster, incarnation, format, floor; `false` for the
/// absent.
pub(super) static CHECK: Lua = Lua::new("#!lua flags=no-writes
local kind = function(key) return redis.call('TYPE', key).ok end
local found = {kind(KEYS[1]), kind(KEYS[2]), kind(KEYS[3]), false, false, false, false, false, false, false, false}
if found[2] == 'string' then found[4] = redis.call('GET', KEYS[2]) end
if found[1] == 'stream' then
  local info = redis.call('XINFO', 'STREAM', KEYS[1])
  for i = 1, #info, 2 do
    if info[i] == 'last-generated-id' then found[5] = info[i + 1] end
    if info[i] == 'length' then found[6] = tostring(info[i + 1]) end
    if info[i] == 'first-entry' and info[i + 1] then found[7] = info[i + 1][1] end
  end
end
if found[3] == 'hash' then
  local meta = redis.call('HMGET', KEYS[3], 'cluster', 'incarnation', 'format', 'floor')
  found[8], found[9], found[10], found[11] = meta[1], meta[2], meta[3], meta[4]
end
return found
");

/// A page of entries. Key: journal. Arguments: first id, most bytes. Answers ids and bytes in
/// turn; an entry of another shape has no bytes.
///
/// A script, because the sizes of entries differ by a factor of a thousand and only Redis knows
/// them: a plain `XRANGE` can't be told to stop after so many bytes.
pub(super) static READ: Lua = Lua::new(
    "#!lua flags=no-writes
local page, bytes, from, most, count = {}, 0, ARGV[1], tonumber(ARGV[2]), 16
while true do
  local part, before = redis.call('XRANGE', KEYS[1], from, '+', 'COUNT', count), bytes
  for _, entry in ipairs(part) do
    local fields = entry[2]
    local body = ''
    if #fields == 2 and fields[1] == 'b' then body = fields[2] end
    bytes = bytes + #body
    if bytes > most and #page > 0 then return page end
    page[#page + 1] = entry[1]
    page[#page + 1] = body
  end
  if #part < count then return page end
  if bytes - before < 262144 and count < 1024 then count = count * 2 end
  if bytes - before > 1048576 and count > 16 then count = count / 2 end
  from = '(' .. part[#part][1]
end
",
);

/// Asks for the leader's key. Key: leader. Arguments: claim, time to live in ms, the claim that loses
/// it (empty: none). A key that somebody's hand made stay for ever expires again: its holder may be
/// gone.
///
/// Who is to lose it is named, so that a claim which arrives late, when another has taken the key
/// since, takes it from nobody.
pub(super) static CLAIM: Lua = Lua::new(
    "#!lua
local held = redis.call('GET', KEYS[1])
if held and held ~= ARGV[1] and held ~= ARGV[3] then
  local left = redis.call('PTTL', KEYS[1])
  if left < 0 then
    redis.call('PEXPIRE', KEYS[1], ARGV[2])
    left = ARGV[2]
  end
  return {'OTHER', held, tostring(left)}
end
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
return {'HELD'}
",
);

/// Gives the leader's key back. Key: leader. Argument: claim.
pub(super) static RELEASE: Lua = Lua::new(
    "#!lua
if redis.call('GET', KEYS[1]) == ARGV[1] then redis.call('DEL', KEYS[1]) end
return 'OK'
",
);

/// Changes a sorted set. Keys: set, cursor. Arguments: cursor before, cursor after (empty: more
/// follows), number of members to add, those, members to remove.
pub(super) static PROJECT_QUEUE: Lua = Lua::new(
    "#!lua
local at = redis.call('GET', KEYS[2])
if at ~= ARGV[1] then return {'ELSEWHERE', at} end
local adds, last = {}, 3 + tonumber(ARGV[3])
for i = 4, last do
  adds[#adds + 1] = '0'
  adds[#adds + 1] = ARGV[i]
end
if #adds > 0 then redis.call('ZADD', KEYS[1], unpack(adds)) end
if #ARGV > last then redis.call('ZREM', KEYS[1], unpack(ARGV, last + 1)) end
if ARGV[2] ~= '' then redis.call('SET', KEYS[2], ARGV[2]) end
return {'MOVED'}
",
);

/// Changes a hash. Keys: hash, cursor. Arguments: cursor before, cursor after (empty: more
/// follows), number of fields to put, those with their values in turn, fields to delete.
pub(super) static PROJECT_HASH: Lua = Lua::new(
    "#!lua
local at = redis.call('GET', KEYS[2])
if at ~= ARGV[1] then return {'ELSEWHERE', at} end
local last = 3 + 2 * tonumber(ARGV[3])
if last > 3 then redis.call('HSET', KEYS[1], unpack(ARGV, 4, last)) end
if #ARGV > last then redis.call('HDEL', KEYS[1], unpack(ARGV, last + 1)) end
if ARGV[2] ~= '' then redis.call('SET', KEYS[2], ARGV[2]) end
return {'MOVED'}
",
);

/// Puts a rebuilt projection in place of the old one. Keys: new, projection, cursor. Arguments:
/// cursor, number of members, `ZCARD` or `HLEN`.
pub(super) static SWAP: Lua = Lua::new(
    "#!lua
if tonumber(ARGV[2]) == 0 then
  redis.call('DEL', KEYS[2])
else
  if redis.call(ARGV[3], KEYS[1]) ~= tonumber(ARGV[2]) then return 'INCOMPLETE' end
  redis.call('RENAME', KEYS[1], KEYS[2])
  redis.call('PERSIST', KEYS[2])
end
redis.call('SET', KEYS[3], ARGV[1])
return 'OK'
",
);
