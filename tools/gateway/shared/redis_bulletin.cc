// SPDX-License-Identifier: Apache-2.0
#include "tools/gateway/shared/redis_bulletin.h"

#include <spdlog/spdlog.h>

#include <random>

#include "broker/log_event.h"

namespace airstore::gateway {
namespace {

// A server that says nothing for so long is asked whether it is still there.
constexpr std::chrono::seconds kSilence{5};
constexpr std::chrono::milliseconds kPause{100};
// Where messages may be lost unnoticed, logs are looked at so often without one.
constexpr std::chrono::seconds kLook{1};
constexpr size_t kPage = 512;
constexpr int kTakenTogether = 256;  // messages
constexpr int kTrimEach = 64;        // events, about

// Not one that has ended meanwhile: nobody would take it away again.
constexpr const char* kGiveUp = R"(
if redis.call('HEXISTS', KEYS[1], ARGV[1]) == 0 then return 0 end
redis.call('HSET', KEYS[1], ARGV[1], '1')
return 1
)";

RedisNews News(char kind, WorkspaceKey ws = 0, const SessionId* session = nullptr,
               uint64_t cursor = 0) {
  RedisNews news;
  news.kind = kind;
  news.workspace = ws;
  if (session != nullptr) news.session = *session;
  news.cursor = cursor;
  return news;
}

RedisCommand TailCommand(const RedisKeys& keys, WorkspaceKey ws) {
  RedisCommand tail = {"HMGET", keys.LogTail(ws)};
  tail.insert(tail.end(), kTailFields.begin(), kTailFields.end());
  return tail;
}

// Whether the log does not know an event that somebody has had from it: it was one of a server that
// had not passed it on when it died. `entries`: from that event on.
bool IsLost(uint64_t cursor, const std::vector<RedisReply>& entries,
            const ForgottenEvents& forgotten) {
  if (cursor <= forgotten.cursor) return false;
  return entries.empty() || entries[0].items.empty() ||
         CursorOf(entries[0].items[0].text) != cursor;
}

struct LogPage {
  std::vector<LoggedEvent> events;
  bool last = false;  // nothing comes behind them
  bool lost = false;  // there is no such event any more as to go on from
  ForgottenEvents forgotten;
};

// What is behind `from`, the cursor of an event; no events when some of them are forgotten or lost.
Result<LogPage> ReadLog(RedisStore& store, WorkspaceKey ws, uint64_t from) {
  // The tail behind the events: had some been forgotten before we read, it says so.
  auto replies = store.Call(
      {{"XRANGE", store.keys().Log(ws), IdOf(from), "+", "COUNT", std::to_string(kPage + 1)},
       TailCommand(store.keys(), ws)});
  if (!replies) return replies.error();
  LogPage page;
  page.forgotten = ForgottenFrom((*replies)[1]);
  const std::vector<RedisReply>& entries = (*replies)[0].items;
  page.lost = IsLost(from, entries, page.forgotten);
  if (page.lost || page.forgotten.cursor > from) return page;
  for (const RedisReply& entry : entries) {
    auto event = EventFrom(entry);
    if (!event) return Error{EIO, "Redis: damaged event"};
    if (event->event.cursor != from) page.events.push_back(std::move(*event));
  }
  page.last = page.events.size() < kPage;
  return page;
}

Result<uint64_t> EndOfLog(RedisStore& store, WorkspaceKey ws) {
  auto replies = store.Call({{"XREVRANGE", store.keys().Log(ws), "+", "-", "COUNT", "1"}});
  if (!replies) return replies.error();
  if (replies->front().items.empty() || replies->front().items[0].items.empty()) return uint64_t{1};
  return CursorOf(replies->front().items[0].items[0].text);
}

}  // namespace

RedisBulletin::RedisBulletin(RedisStore& store, std::chrono::milliseconds patience,
                             LogLimits limits)
    : store_(store),
      keys_(store.keys()),
      limits_(limits),
      acks_(patience, [this](WorkspaceKey ws, const SessionId& session) { GiveUp(ws, session); }) {}

Result<std::unique_ptr<RedisBulletin>> RedisBulletin::Open(RedisStore& store,
                                                           std::chrono::milliseconds patience,
                                                           LogLimits limits) {
  std::unique_ptr<RedisBulletin> bulletin(new RedisBulletin(store, patience, limits));
  AIRSTORE_TRY(bulletin->Subscribe());
  bulletin->listener_ = std::thread([raw = bulletin.get()] { raw->Listen(); });
  return bulletin;
}

RedisBulletin::~RedisBulletin() {
  {
    std::lock_guard lock(mu_);
    stopping_ = true;
    if (channel_) channel_->Interrupt();
  }
  stop_.notify_all();
  if (listener_.joinable()) listener_.join();
}

void RedisBulletin::WhenHeard(Heard call) {
  std::lock_guard lock(mu_);
  heard_ = std::move(call);
}

// ---- The channel

Result<void> RedisBulletin::Subscribe() {
  auto channel = store_.Connect(keys_.Channel());
  if (!channel) return channel.error();
  AIRSTORE_TRY((*channel)->Call(RedisCommand{"SUBSCRIBE", keys_.Channel()}));
  std::lock_guard lock(mu_);
  channel_ = std::move(*channel);
  if (stopping_) channel_->Interrupt();
  return {};
}

void RedisBulletin::Listen() {
  while (true) {
    if (auto heard = HearSome(); heard) continue;
    std::unique_lock lock(mu_);
    channel_.reset();
    asked_ = false;
    heard_at_ = SteadyNow();
    if (stopping_) return;
    spdlog::warn("the channel of Redis is lost: what others do is looked for again");
    while (!channel_) {
      if (stop_.wait_for(lock, kPause, [this] { return stopping_; })) return;
      lock.unlock();
      const auto again = Subscribe();
      lock.lock();
      if (!again) {
        broker::LogEvent(spdlog::level::debug, {{"error", again.error().ToString()}}, "channel: {}",
                         again.error().ToString());
      }
    }
    lock.unlock();
    Resume();
  }
}

void RedisBulletin::Resume() {
  for (const auto& [ws, watched] : hub_.AllFollowed()) {
    std::lock_guard lock(pull_mu_);
    if (auto pulled = Pull(ws); !pulled) hub_.Unfollow(ws);
  }
  hub_.End(0, nullptr, nullptr, WatchEnd::kAgain);
  Send(News(RedisNews::kAsk));
}

// Everything that has come is taken together: a log that has grown ten times is read once.
Result<void> RedisBulletin::HearSome() {
  const bool looks = store_.may_lose_messages();
  if (looks && SteadyNow() - looked_ >= kLook) LookAgain();
  auto message = channel_->Next(looks ? kLook : kSilence);
  if (!message) return message.error();
  std::set<WorkspaceKey> grown;
  if (!*message) {
    if (SteadyNow() - heard_at_ < kSilence) return {};
    LetGo();
    if (std::exchange(asked_, true)) return Error{ETIMEDOUT, "the server is silent"};
    heard_at_ = SteadyNow();
    return channel_->Ping();
  }
  heard_at_ = SteadyNow();
  asked_ = false;
  for (int taken = 0; *message && taken < kTakenTogether; ++taken) {
    if ((*message)->items.size() == 3) {
      if (const auto news = RedisNews::Unpack((*message)->items[2].text)) Act(*news, &grown);
    }
    message = channel_->Next(std::chrono::milliseconds(0));
    if (!message) return message.error();
  }
  for (const WorkspaceKey ws : grown) PullIfFollowed(ws);
  return {};
}

void RedisBulletin::PullIfFollowed(WorkspaceKey ws) {
  std::lock_guard lock(pull_mu_);
  if (!hub_.Followed(ws)) return;
  if (auto pulled = Pull(ws); !pulled) {
    spdlog::warn("log of a workspace: {}", pulled.error().ToString());
    hub_.Unfollow(ws);
  }
}

void RedisBulletin::LookAgain() {
  looked_ = SteadyNow();
  for (const auto& [ws, watched] : hub_.AllFollowed()) PullIfFollowed(ws);
}

void RedisBulletin::Act(const RedisNews& news, std::set<WorkspaceKey>* grown) {
  switch (news.kind) {
    case RedisNews::kLog:
      grown->insert(news.workspace);
      break;
    case RedisNews::kAck:
      if (news.session) acks_.Hear(news.workspace, *news.session, news.cursor);
      break;
    case RedisNews::kForget:
      if (!news.session) break;
      {
        std::lock_guard lock(mu_);
        watching_.erase(*news.session);
      }
      acks_.Forget(*news.session);
      // Should it be there all the same: what it had registered is gone, and it must hear so.
      hub_.End(news.workspace, &*news.session, nullptr, WatchEnd::kBehind);
      break;
    case RedisNews::kFree:
      Tell(news);
      break;
    case RedisNews::kBehind:
    case RedisNews::kEnd:
      Tell(news);
      hub_.End(news.workspace, news.session ? &*news.session : nullptr,
               news.token.empty() ? nullptr : &news.token,
               news.kind == RedisNews::kBehind ? WatchEnd::kBehind : WatchEnd::kOver);
      break;
    case RedisNews::kAsk:
      TellAcknowledged();
      break;
    default:
      break;
  }
}

void RedisBulletin::Tell(const RedisNews& news) {
  Heard call;
  {
    std::lock_guard lock(mu_);
    call = heard_;
  }
  if (call) call(news);
}

void RedisBulletin::TellAcknowledged() {
  std::unordered_map<SessionId, Watching, Id16Hash> watching;
  {
    std::lock_guard lock(mu_);
    watching = watching_;
  }
  for (const auto& [session, at] : watching) {
    if (at.acknowledged == 0) continue;  // it is said once, when the watch begins
    Send(News(RedisNews::kAck, at.workspace, &session, at.acknowledged));
  }
}

void RedisBulletin::Send(const RedisNews& news) {
  auto sent = store_.Call({{"PUBLISH", keys_.Channel(), news.Pack()}});
  if (!sent) {
    broker::LogEvent(spdlog::level::warn, {{"error", sent.error().ToString()}},
                     "message to other gateways: {}", sent.error().ToString());
  }
}

// ---- Logs

Result<void> RedisBulletin::Follow(WorkspaceKey ws) {
  std::lock_guard lock(pull_mu_);
  // Once more from the tail where what was followed is lost.
  for (int tries = 0; tries < 2; ++tries) {
    if (!hub_.Followed(ws)) {
      auto replies = store_.Call({TailCommand(keys_, ws)});
      if (!replies) return replies.error();
      hub_.Follow(ws, ForgottenFrom(replies->front()));
    }
    AIRSTORE_TRY(Pull(ws));
    if (hub_.Followed(ws)) break;
  }
  return {};
}

Result<void> RedisBulletin::Pull(WorkspaceKey ws) {
  for (bool all = false; !all;) {
    const auto from = hub_.Followed(ws);
    if (!from) return {};
    AIRSTORE_TRY(PullSome(ws, *from, &all));
  }
  return {};
}

Result<void> RedisBulletin::PullSome(WorkspaceKey ws, uint64_t from, bool* all) {
  auto page = ReadLog(store_, ws, from);
  if (!page) return page.error();
  if (page->lost) {
    spdlog::warn("events of a workspace are lost: whoever has seen them is told of a gap");
    hub_.Unfollow(ws);
    return {};
  }
  if (page->forgotten.cursor > from) {
    hub_.Follow(ws, page->forgotten);
    return {};
  }
  *all = page->last;
  if (!page->events.empty()) hub_.Deliver(ws, std::move(page->events));
  return {};
}

void RedisBulletin::LetGo() {
  for (const auto& [ws, watched] : hub_.AllFollowed()) {
    std::lock_guard lock(pull_mu_);
    if (!watched) hub_.Unfollow(ws);
  }
}

void RedisBulletin::Trim(WorkspaceKey ws) {
  static thread_local std::minstd_rand random{std::random_device{}()};
  if (random() % kTrimEach != 0) return;
  auto trimmed = store_.Call({TrimCommand(keys_, ws, limits_.events, limits_.bytes)});
  if (!trimmed) {
    broker::LogEvent(spdlog::level::warn, {{"error", trimmed.error().ToString()}},
                     "log of a workspace: {}", trimmed.error().ToString());
  }
}

// The commit itself has announced it.
uint64_t RedisBulletin::Publish(WorkspaceKey, const SessionId&, const ChangeSet&) { return 0; }

Result<void> RedisBulletin::Tell(WorkspaceKey ws, const LoggedEvent& event, uint64_t* cursor) {
  auto told = store_.CallAtOnce(LogCommands(keys_, ws, event));
  if (!told) return told.error();
  if (cursor != nullptr) *cursor = CursorOf(told->front().text);
  Trim(ws);
  return {};
}

void RedisBulletin::Recall(WorkspaceKey ws, const SessionId& to, uint64_t lease_id) {
  LoggedEvent event;
  event.session = to;
  event.event.lease_recall = lease_id;
  if (auto told = Tell(ws, event); !told) {
    broker::LogEvent(spdlog::level::warn, {{"error", told.error().ToString()}},
                     "recall of a lease: {}", told.error().ToString());
  }
}

void RedisBulletin::LockFreed(WorkspaceKey ws, const SessionId& to, InodeNo ino) {
  LoggedEvent event;
  event.session = to;
  event.event.lock_freed = ino;
  if (auto told = Tell(ws, event); !told) {
    broker::LogEvent(spdlog::level::warn, {{"error", told.error().ToString()}},
                     "lock that is free: {}", told.error().ToString());
  }
}

void RedisBulletin::AskToForget(WorkspaceKey ws, const SessionId& to, InodeNo zone) {
  LoggedEvent event;
  event.session = to;
  event.event.forget = zone;
  if (auto told = Tell(ws, event); !told) {
    broker::LogEvent(spdlog::level::warn, {{"error", told.error().ToString()}},
                     "interest that is in the way: {}", told.error().ToString());
  }
}

Result<uint64_t> RedisBulletin::Mark(WorkspaceKey ws, const SessionId& to) {
  LoggedEvent event;
  event.session = to;
  uint64_t cursor = 0;
  AIRSTORE_TRY(Tell(ws, event, &cursor));
  return cursor;
}

Result<uint64_t> RedisBulletin::Cursor(WorkspaceKey ws) { return EndOfLog(store_, ws); }

Result<Told> RedisBulletin::LastBy(WorkspaceKey ws, const SessionId& session) {
  std::string before = "+";
  for (size_t page = 8;; page = kPage) {
    auto replies =
        store_.Call({{"XREVRANGE", keys_.Log(ws), before, "-", "COUNT", std::to_string(page)}});
    if (!replies) return replies.error();
    const std::vector<RedisReply>& entries = replies->front().items;
    for (const RedisReply& entry : entries) {
      const auto event = EventFrom(entry);
      if (!event) return Error{EIO, "Redis: damaged event"};
      if (event->is_change() && event->session == session) {
        return Told{event->event.cursor, event->event.changes->only};
      }
      before = "(" + IdOf(event->event.cursor);
    }
    if (entries.size() < page) return Told{};
  }
}

// ---- Watchers

Result<bool> RedisBulletin::Begin(WorkspaceKey ws, const SessionId& session, uint64_t cursor) {
  // Before the mark of a gap is taken away: without a stream nobody is told of it.
  AIRSTORE_TRY(Follow(ws));
  const std::string field(session.view());
  auto replies = store_.CallAtOnce({{"HGET", keys_.Watchers(ws), field},
                                    {"HSET", keys_.Watchers(ws), field, "0"},
                                    {"XRANGE", keys_.Log(ws), IdOf(cursor), IdOf(cursor)},
                                    TailCommand(keys_, ws)});
  if (!replies) return replies.error();
  // Every cursor that brokers have is of an event, or of before there was any.
  const bool lost = IsLost(cursor, (*replies)[2].items, ForgottenFrom((*replies)[3]));
  const bool in_time = replies->front().text != "1" && !lost;
  AIRSTORE_TRY(Acknowledge(ws, session, in_time ? cursor : 0));
  return in_time;
}

Result<void> RedisBulletin::Acknowledge(WorkspaceKey ws, const SessionId& session,
                                        uint64_t cursor) {
  {
    std::lock_guard lock(mu_);
    Watching& at = watching_[session];
    at.workspace = ws;
    at.acknowledged = cursor == 0 ? 0 : std::max(at.acknowledged, cursor);
  }
  const RedisNews news = News(RedisNews::kAck, ws, &session, cursor);
  auto sent = store_.Call({{"PUBLISH", keys_.Channel(), news.Pack()}});
  if (!sent) return sent.error();
  return {};
}

Result<void> RedisBulletin::Forget(WorkspaceKey ws, const SessionId& session) {
  {
    std::lock_guard lock(mu_);
    watching_.erase(session);
  }
  auto done =
      store_.Call({{"HDEL", keys_.Watchers(ws), std::string(session.view())},
                   {"PUBLISH", keys_.Channel(), News(RedisNews::kForget, ws, &session).Pack()}});
  if (!done) return done.error();
  return {};
}

Result<void> RedisBulletin::WhenSeen(WorkspaceKey ws, const SessionId& by, const Told& told,
                                     WatchAcks::Done done) {
  Trim(ws);
  std::set<SessionId> who;
  auto replies = store_.Call({{"HGETALL", keys_.Watchers(ws)}});
  if (!replies) return replies.error();
  const std::vector<RedisReply>& items = replies->front().items;
  for (size_t i = 0; i + 1 < items.size(); i += 2) {
    if (items[i].text.size() != 16 || items[i + 1].text != "0") continue;
    const SessionId session = SessionId::From(items[i].text);
    if (session != by && told.Concerns(session)) who.insert(session);
  }
  acks_.WhenSeenBy(ws, who, told.cursor, std::move(done));
  return {};
}

void RedisBulletin::GiveUp(WorkspaceKey ws, const SessionId& session) {
  spdlog::warn("a watcher did not acknowledge in time and is not waited for");
  auto done =
      store_.Call({{"EVAL", kGiveUp, "1", keys_.Watchers(ws), std::string(session.view())},
                   {"PUBLISH", keys_.Channel(), News(RedisNews::kBehind, ws, &session).Pack()}});
  if (!done) {
    broker::LogEvent(spdlog::level::warn, {{"error", done.error().ToString()}},
                     "watchers of a workspace: {}", done.error().ToString());
  }
}

void RedisBulletin::End(WorkspaceKey ws, const SessionId* session, const std::string* token_id) {
  hub_.End(ws, session, token_id);
  RedisNews news = News(RedisNews::kEnd, ws, session);
  if (token_id != nullptr) news.token = *token_id;
  Send(news);
}

Result<std::vector<InodeNo>> ChangedSince(RedisStore& store, WorkspaceKey ws, uint64_t* cursor) {
  std::vector<InodeNo> inodes;
  if (*cursor == 0) {
    auto end = EndOfLog(store, ws);
    if (!end) return end.error();
    *cursor = *end;
    return inodes;
  }
  for (bool last = false; !last;) {
    const auto page = ReadLog(store, ws, *cursor);
    if (!page) return page.error();
    if (page->lost || page->forgotten.cursor > *cursor) {
      return Error{ESTALE, "the log has forgotten what was changed"};
    }
    for (const LoggedEvent& logged : page->events) {
      *cursor = logged.event.cursor;
      if (!logged.event.changes) continue;
      const auto& changed = logged.event.changes->inodes;
      inodes.insert(inodes.end(), changed.begin(), changed.end());
    }
    last = page->last;
  }
  return inodes;
}

}  // namespace airstore::gateway
