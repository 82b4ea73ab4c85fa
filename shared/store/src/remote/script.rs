//! The scripts that the server runs in one go.
//!
//! Lua computes with doubles and prints 14 digits of them: numbers are therefore kept below 2^53
//! and written with `%.0f`.

use std::sync::LazyLock;

use redis::Script;

pub(super) struct Scripts {
    pub(super) append: Script,
    pub(super) erase: Script,
    pub(super) put: Script,
    pub(super) compare_and_set: Script,
    pub(super) acquire: Script,
    pub(super) renew: Script,
    pub(super) release: Script,
    pub(super) current: Script,
    pub(super) fence: Script,
    pub(super) set_fenced: Script,
    pub(super) delete_fenced: Script,
    pub(super) announce: Script,
    pub(super) withdraw: Script,
    pub(super) members: Script,
    pub(super) layout: Script,
}

/// The scripts, hashed once.
pub(super) fn scripts() -> &'static Scripts {
    static SCRIPTS: LazyLock<Scripts> = LazyLock::new(|| Scripts {
        append: Script::new(APPEND),
        erase: Script::new(ERASE),
        put: Script::new(PUT),
        compare_and_set: Script::new(COMPARE_AND_SET),
        acquire: Script::new(ACQUIRE),
        renew: Script::new(RENEW),
        release: Script::new(RELEASE),
        current: Script::new(CURRENT),
        fence: Script::new(FENCE),
        set_fenced: Script::new(SET_FENCED),
        delete_fenced: Script::new(DELETE_FENCED),
        announce: Script::new(ANNOUNCE),
        withdraw: Script::new(WITHDRAW),
        members: Script::new(MEMBERS),
        layout: Script::new(LAYOUT),
    });
    &SCRIPTS
}

/// Keys: meta, log. Arguments: epoch, 1 if the stream is listed, expected tail or `any`, most
/// records to tell about in a refusal, records.
/// A new stream starts at the server's time in microseconds, so that no position comes twice even
/// if the data were lost.
const APPEND: &str = r"
local epoch, tail, live = unpack(redis.call('HMGET', KEYS[1], 'epoch', 'tail', 'live'))
if epoch and tonumber(ARGV[1]) < tonumber(epoch) then return {'fenced', epoch, {}} end
if ARGV[3] ~= 'any' and (tail or '0') ~= ARGV[3] then
  local missed = redis.call('XRANGE', KEYS[2], '(' .. ARGV[3] .. '-0', '+', 'COUNT', ARGV[4])
  return {'moved', tail or '0', missed}
end
if live ~= '1' and ARGV[2] ~= '1' then return {'unlisted', 0, {}} end
if not tail then
  local time = redis.call('TIME')
  tail = time[1] * 1000000 + time[2]
end
for i = 5, #ARGV do
  tail = tail + 1
  redis.call('XADD', KEYS[2], string.format('%.0f-0', tail), 'b', ARGV[i])
end
tail = string.format('%.0f', tail)
redis.call('HSET', KEYS[1], 'epoch', ARGV[1], 'tail', tail, 'live', '1')
return {'ok', tail, {}}
";

/// Keys: meta, log.
const ERASE: &str = r"
redis.call('DEL', KEYS[2])
if redis.call('EXISTS', KEYS[1]) == 1 then redis.call('HSET', KEYS[1], 'live', '0') end
";

/// Key: pair. Arguments: version, bytes, milliseconds to live or 0.
const PUT: &str = r"
redis.call('HSET', KEYS[1], 'version', ARGV[1], 'bytes', ARGV[2])
if ARGV[3] == '0' then redis.call('PERSIST', KEYS[1]) else redis.call('PEXPIRE', KEYS[1], ARGV[3]) end
";

/// As `PUT`, and the expected version or 0 for none.
const COMPARE_AND_SET: &str = r"
if (redis.call('HGET', KEYS[1], 'version') or '0') ~= ARGV[4] then return 0 end
redis.call('HSET', KEYS[1], 'version', ARGV[1], 'bytes', ARGV[2])
if ARGV[3] == '0' then redis.call('PERSIST', KEYS[1]) else redis.call('PEXPIRE', KEYS[1], ARGV[3]) end
return 1
";

/// Keys: lease, epoch. Arguments: holder, milliseconds to live.
/// The epoch is the server's time in milliseconds, or one more than the last: it grows even if
/// the last was lost.
/// A lease that has more time left than it was ever given says that the server's clock was set back.
/// Whoever wants it then gives it that time once more, not the hours that the clock lacks.
const ACQUIRE: &str = r"
local holder, ttl = unpack(redis.call('HMGET', KEYS[1], 'holder', 'ttl'))
if holder and holder ~= ARGV[1] then
  if ttl then
    local left = redis.call('PTTL', KEYS[1])
    if left < 0 or left > tonumber(ttl) then redis.call('PEXPIRE', KEYS[1], ttl) end
  end
  return false
end
local time = redis.call('TIME')
local epoch = time[1] * 1000 + math.floor(time[2] / 1000)
local last = redis.call('GET', KEYS[2])
if last and epoch <= tonumber(last) then epoch = last + 1 end
epoch = string.format('%.0f', epoch)
redis.call('SET', KEYS[2], epoch)
redis.call('HSET', KEYS[1], 'holder', ARGV[1], 'epoch', epoch, 'ttl', ARGV[2])
redis.call('PEXPIRE', KEYS[1], ARGV[2])
return epoch
";

/// Key: lease. Arguments: holder, epoch, milliseconds to live.
const RENEW: &str = r"
local holder, epoch = unpack(redis.call('HMGET', KEYS[1], 'holder', 'epoch'))
if holder ~= ARGV[1] or epoch ~= ARGV[2] then return 0 end
redis.call('HSET', KEYS[1], 'ttl', ARGV[3])
redis.call('PEXPIRE', KEYS[1], ARGV[3])
return 1
";

/// Key: lease. Arguments: holder, epoch.
const RELEASE: &str = r"
local holder, epoch = unpack(redis.call('HMGET', KEYS[1], 'holder', 'epoch'))
if holder ~= ARGV[1] or epoch ~= ARGV[2] then return 0 end
redis.call('DEL', KEYS[1])
return 1
";

/// Key: lease.
const CURRENT: &str = r"
local holder, epoch, ttl = unpack(redis.call('HMGET', KEYS[1], 'holder', 'epoch', 'ttl'))
if not holder then return false end
local left = redis.call('PTTL', KEYS[1])
if ttl and (left < 0 or left > tonumber(ttl)) then left = tonumber(ttl) end
return {holder, epoch, left}
";

/// Key: layout. Arguments: version, the text that tells it, the oldest version that its release can
/// read. Only ever raises it, and not what that release cannot read; answers what holds.
const LAYOUT: &str = r"
local found = redis.call('GET', KEYS[1])
local version = found and tonumber(string.match(found, '^version=(%d+)'))
local is_older = version and version >= tonumber(ARGV[3]) and version < tonumber(ARGV[1])
if not found or is_older then
  redis.call('SET', KEYS[1], ARGV[2])
  return ARGV[2]
end
return found
";

/// A script that goes on only when its last argument is an epoch that is not older than the key's.
/// Keys: pair, epoch. Answers the newer epoch or nothing, then what the script has to say. Epochs
/// are compared as doubles, exact up to 2^53, but kept as they came.
macro_rules! fenced {
    ($script:literal) => {
        concat!(
            "
local epoch, seen = ARGV[#ARGV], redis.call('GET', KEYS[2])
if seen and tonumber(epoch) < tonumber(seen) then return {seen, false, false} end
if seen ~= epoch then redis.call('SET', KEYS[2], epoch) end
",
            $script
        )
    };
}

const FENCE: &str = fenced!(
    "
local pair = redis.call('HMGET', KEYS[1], 'version', 'bytes')
return {false, pair[1], pair[2]}
"
);

/// Arguments: version, bytes, milliseconds to live or 0, and the expected version, 0 for none or
/// `any`.
const SET_FENCED: &str = fenced!(
    "
if ARGV[4] ~= 'any' and (redis.call('HGET', KEYS[1], 'version') or '0') ~= ARGV[4] then
  return {false, 0, false}
end
redis.call('HSET', KEYS[1], 'version', ARGV[1], 'bytes', ARGV[2])
if ARGV[3] == '0' then redis.call('PERSIST', KEYS[1]) else redis.call('PEXPIRE', KEYS[1], ARGV[3]) end
return {false, 1, false}
"
);

const DELETE_FENCED: &str = fenced!("return {false, redis.call('DEL', KEYS[1]), false}");

/// A script that begins by taking off those whose time is over. Keys: documents, until.
macro_rules! purged {
    ($script:literal) => {
        concat!(
            "
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local gone = redis.call('ZRANGEBYSCORE', KEYS[2], '-inf', string.format('%.0f', now))
if #gone > 0 then
  redis.call('HDEL', KEYS[1], unpack(gone))
  redis.call('ZREM', KEYS[2], unpack(gone))
end
",
            $script
        )
    };
}

/// Arguments: member, document, milliseconds to live, most members. The keys live as long as the
/// last member.
const ANNOUNCE: &str = purged!(
    "
if not redis.call('ZSCORE', KEYS[2], ARGV[1]) and redis.call('ZCARD', KEYS[2]) >= tonumber(ARGV[4]) then
  return 0
end
redis.call('HSET', KEYS[1], ARGV[1], ARGV[2])
redis.call('ZADD', KEYS[2], string.format('%.0f', now + ARGV[3]), ARGV[1])
for _, key in ipairs(KEYS) do
  if redis.call('PTTL', key) < tonumber(ARGV[3]) then redis.call('PEXPIRE', key, ARGV[3]) end
end
return 1
"
);

/// Arguments: member.
const WITHDRAW: &str = purged!(
    "
redis.call('ZREM', KEYS[2], ARGV[1])
return redis.call('HDEL', KEYS[1], ARGV[1])
"
);

const MEMBERS: &str = purged!("return redis.call('HGETALL', KEYS[1])");
