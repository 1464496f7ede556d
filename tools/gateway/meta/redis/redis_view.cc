// SPDX-License-Identifier: Apache-2.0
#include "tools/gateway/meta/redis/redis_view.h"

#include <algorithm>

#include "tools/gateway/metadata_store.h"

namespace airstore::gateway {
namespace {

// Of ZRANGEBYLEX.
std::string Least(const std::string& from) { return from.empty() ? "-" : "[" + from; }
std::string Below(const std::string& before) { return before.empty() ? "+" : "(" + before; }

RedisCommand FindCommand(const RedisMap& map, const std::string& field) {
  return {"ZRANGEBYLEX", map.key, Least(field), Below(RedisView::Behind(field)), "LIMIT", "0", "1"};
}

std::optional<std::string> FirstOf(const RedisReply& found) {
  if (found.items.empty()) return std::nullopt;
  return found.items.front().text;
}

// Names a member that was looked for.
std::string SeenName(const RedisMap& map, const std::string& field) {
  return map.key + "\n" + field;
}

}  // namespace

std::string RedisView::Behind(std::string prefix) {
  while (!prefix.empty() && static_cast<unsigned char>(prefix.back()) == 0xff) prefix.pop_back();
  if (!prefix.empty()) prefix.back() = static_cast<char>(prefix.back() + 1);
  return prefix;
}

std::string RedisView::FieldOf(const RedisMap& map, const std::string& member) {
  return member.substr(0, map.width != 0 ? map.width : member.find('\0') + 1);
}

std::pair<std::string, std::string> RedisView::Split(const RedisMap& map,
                                                     const std::string& member) {
  std::string field = FieldOf(map, member);
  std::string value = member.substr(field.size());
  return {std::move(field), std::move(value)};
}

void RedisView::Fail(Error error) {
  if (failed_) return;
  failed_ = true;
  failure_ = std::move(error);
}

void RedisView::FailDamaged(const std::string& what) { Fail({EIO, "Redis: damaged row: " + what}); }

std::vector<RedisReply> RedisView::Read(const std::vector<std::string>& guards,
                                        std::vector<RedisCommand> commands) {
  if (failed_) return {};
  // Before the data: what changes in between then shows as a change.
  std::vector<std::string> fresh;
  for (const std::string& guard : guards) {
    if (!guard.empty() && !guards_.contains(guard)) fresh.push_back(guard);
    if (!guard.empty()) guards_.try_emplace(guard);
  }
  if (!fresh.empty()) {
    RedisCommand all = {writes_ ? "WATCH" : "MGET"};
    all.insert(all.end(), fresh.begin(), fresh.end());
    commands.insert(commands.begin(), std::move(all));
  }
  auto replies = connection_.Call(commands);
  if (!replies) {
    Fail(replies.error());
    return {};
  }
  if (!fresh.empty()) watching_ = writes_;
  for (size_t i = 0; i < replies->size(); ++i) {
    if (!(*replies)[i].is_error()) continue;
    Fail({EIO, "Redis: " + commands[i].front() + ": " + (*replies)[i].text});
    return {};
  }
  ++reads_;
  if (!fresh.empty()) {
    if (!writes_ && replies->front().items.size() == fresh.size()) {
      for (size_t i = 0; i < fresh.size(); ++i) guards_[fresh[i]] = replies->front().items[i].text;
    }
  }
  if (!fresh.empty()) replies->erase(replies->begin());
  return std::move(*replies);
}

std::vector<RedisReply> RedisView::Ask(const std::string& guard,
                                       std::vector<RedisCommand> commands) {
  return Read({guard}, std::move(commands));
}

std::optional<std::string> RedisView::Get(const std::string& guard, const std::string& key) {
  auto values = GetAll({guard}, {key});
  return values.empty() ? std::nullopt : std::move(values.front());
}

std::vector<std::optional<std::string>> RedisView::GetAll(const std::vector<std::string>& guards,
                                                          const std::vector<std::string>& keys) {
  std::vector<std::optional<std::string>> values(keys.size());
  RedisCommand command = {"MGET"};
  std::vector<size_t> asked;
  for (size_t i = 0; i < keys.size(); ++i) {
    if (const auto it = values_.find(keys[i]); it != values_.end()) {
      values[i] = it->second;
    } else if (const auto told = expected_.find(keys[i]); told != expected_.end()) {
      values[i] = told->second;
    } else {
      asked.push_back(i);
      command.push_back(keys[i]);
    }
  }
  if (asked.empty()) return values;
  auto replies = Read(guards, {std::move(command)});
  if (replies.empty() || replies.front().items.size() != asked.size()) return {};
  for (size_t i = 0; i < asked.size(); ++i) {
    RedisReply& item = replies.front().items[i];
    if (!item.is_nil()) values[asked[i]] = std::move(item.text);
  }
  return values;
}

const RedisView::Fields* RedisView::ChangesOf(const RedisMap& map) const {
  const auto it = maps_.find(map.key);
  return it == maps_.end() ? nullptr : &it->second.fields;
}

std::optional<std::string> RedisView::Find(const std::string& guard, const RedisMap& map,
                                           const std::string& field) {
  if (const Fields* changes = ChangesOf(map)) {
    if (const auto it = changes->find(field); it != changes->end()) return it->second;
  }
  auto seen = seen_.find(SeenName(map, field));
  if (seen == seen_.end()) {
    const auto replies = Read({guard}, {FindCommand(map, field)});
    if (replies.empty()) return std::nullopt;
    seen = seen_.emplace(SeenName(map, field), FirstOf(replies.front())).first;
  }
  if (!seen->second) return std::nullopt;
  return seen->second->substr(field.size());
}

void RedisView::Expect(const std::vector<std::string>& guards,
                       const std::vector<std::pair<RedisMap, std::string>>& members,
                       const std::vector<std::string>& keys) {
  std::vector<RedisCommand> commands;
  for (const auto& [map, field] : members) commands.push_back(FindCommand(map, field));
  RedisCommand all = {"MGET"};
  all.insert(all.end(), keys.begin(), keys.end());
  if (!keys.empty()) commands.push_back(std::move(all));
  if (commands.empty()) return;
  const auto replies = Read(guards, std::move(commands));
  if (replies.empty()) return;
  reads_ += replies.size();  // they are not of one moment
  for (size_t i = 0; i < members.size(); ++i) {
    seen_.emplace(SeenName(members[i].first, members[i].second), FirstOf(replies[i]));
  }
  for (size_t i = 0; i < keys.size() && i < replies.back().items.size(); ++i) {
    const RedisReply& item = replies.back().items[i];
    expected_.emplace(keys[i], item.is_nil() ? std::nullopt : std::optional(item.text));
  }
}

std::vector<std::pair<std::string, std::string>> RedisView::List(const std::string& guard,
                                                                 const RedisMap& map,
                                                                 const Range& range, size_t limit) {
  const Fields* changes = ChangesOf(map);
  auto begin = Fields::const_iterator(), end = begin;
  size_t hidden = 0;  // as many of those that are there may not count
  if (changes != nullptr) {
    begin = changes->lower_bound(range.from);
    end = range.before.empty() ? changes->end() : changes->lower_bound(range.before);
    hidden = static_cast<size_t>(std::distance(begin, end));
  }
  RedisCommand command = {"ZRANGEBYLEX", map.key, Least(range.from), Below(range.before)};
  if (limit != 0) {
    command.insert(command.end(), {"LIMIT", "0", std::to_string(limit + hidden)});
  }
  auto replies = Read({guard}, {std::move(command)});
  if (replies.empty()) return {};
  std::vector<std::pair<std::string, std::string>> found;
  found.reserve(replies.front().items.size());
  for (const RedisReply& item : replies.front().items) {
    auto pair = Split(map, item.text);
    if (writes_) seen_[SeenName(map, pair.first)] = item.text;
    if (changes == nullptr || !changes->contains(pair.first)) found.push_back(std::move(pair));
  }
  if (hidden != 0) {
    for (auto it = begin; it != end; ++it) {
      if (it->second) found.emplace_back(it->first, *it->second);
    }
    std::sort(found.begin(), found.end());
  }
  if (limit != 0 && found.size() > limit) found.resize(limit);
  return found;
}

std::optional<std::pair<std::string, std::string>> RedisView::LastBefore(
    const std::string& guard, const RedisMap& map, const std::string& before) {
  const Fields* changes = ChangesOf(map);
  std::optional<std::pair<std::string, std::string>> last;
  if (changes != nullptr) {
    for (auto it = changes->lower_bound(before); it != changes->begin();) {
      --it;
      if (!it->second) continue;
      last = {it->first, *it->second};
      break;
    }
  }
  for (std::string below = before;;) {
    const auto replies = Read({guard}, {{"ZREVRANGEBYLEX", map.key, Below(below),
                                         last ? Least(last->first) : "-", "LIMIT", "0", "1"}});
    if (replies.empty() || replies.front().items.empty()) return last;
    auto pair = Split(map, replies.front().items.front().text);
    if (changes == nullptr || !changes->contains(pair.first)) return pair;
    below = pair.first;
  }
}

void RedisView::Touch(const std::string& guard) {
  if (!guard.empty()) touched_.insert(guard);
}

void RedisView::Put(const std::string& guard, const std::string& key, std::string value) {
  Touch(guard);
  values_[key] = std::move(value);
}

void RedisView::Erase(const std::string& guard, const std::string& key) {
  Touch(guard);
  values_[key] = std::nullopt;
}

void RedisView::Put(const std::string& guard, const RedisMap& map, const std::string& field,
                    std::string value) {
  Touch(guard);
  Changed& changed = maps_[map.key];
  changed.width = map.width;
  changed.fields[field] = std::move(value);
}

void RedisView::Erase(const std::string& guard, const RedisMap& map, const std::string& field) {
  Touch(guard);
  Changed& changed = maps_[map.key];
  changed.width = map.width;
  changed.fields[field] = std::nullopt;
}

size_t RedisView::Do(const std::string& guard, RedisCommand command) {
  Touch(guard);
  own_.push_back(std::move(command));
  return own_.size() - 1;
}

Result<void> RedisView::Validate() {
  if (failed_) return failure_;
  // What one round trip has brought is of one moment by itself.
  if (writes_ || reads_ <= 1 || guards_.empty()) return {};
  RedisCommand command = {"MGET"};
  for (const auto& [guard, count] : guards_) command.push_back(guard);
  auto reply = connection_.Call(command);
  if (!reply) {
    Fail(reply.error());
    return failure_;
  }
  size_t i = 0;
  for (const auto& [guard, count] : guards_) {
    const bool same = i < reply->items.size() && reply->items[i].text == count;
    if (!same) {
      Fail({kStoreConflict, "somebody else changed what was being read"});
      return failure_;
    }
    ++i;
  }
  return {};
}

std::vector<RedisCommand> RedisView::Changes() {
  std::vector<RedisCommand> commands = {{"MULTI"}};
  for (RedisCommand& command : own_) commands.push_back(std::move(command));
  for (auto& [key, changed] : maps_) {
    const RedisMap map{key, changed.width};
    RedisCommand remove = {"ZREM", key};
    RedisCommand add = {"ZADD", key};
    for (auto& [field, value] : changed.fields) {
      const auto seen = seen_.find(SeenName(map, field));
      std::string member = value ? field + *value : std::string();
      if (seen == seen_.end()) {
        commands.push_back({"ZREMRANGEBYLEX", key, Least(field), Below(Behind(field))});
      } else if (seen->second && (!value || *seen->second != member)) {
        remove.push_back(*seen->second);
      }
      if (!value) continue;
      add.push_back("0");
      add.push_back(std::move(member));
    }
    if (remove.size() > 2) commands.push_back(std::move(remove));
    if (add.size() > 2) commands.push_back(std::move(add));
  }
  RedisCommand set = {"MSET"};
  RedisCommand unlink = {"UNLINK"};
  for (auto& [key, value] : values_) {
    if (value) {
      set.push_back(key);
      set.push_back(std::move(*value));
    } else {
      unlink.push_back(key);
    }
  }
  if (set.size() > 1) commands.push_back(std::move(set));
  if (unlink.size() > 1) commands.push_back(std::move(unlink));
  for (const std::string& guard : touched_) commands.push_back({"INCR", guard});
  commands.push_back({"EXEC"});
  return commands;
}

Result<void> RedisView::Commit() {
  if (failed_) return failure_;
  const std::vector<RedisCommand> commands = Changes();
  auto replies = connection_.Call(commands);
  watching_ = false;
  if (!replies) {
    Fail(replies.error());  // done or not: who repeats it will be told
    return failure_;
  }
  for (size_t i = 0; i + 1 < replies->size(); ++i) {
    if ((*replies)[i].is_error()) {
      Fail({EIO, "Redis: " + commands[i].front() + ": " + (*replies)[i].text});
      return failure_;
    }
  }
  RedisReply& done = replies->back();
  if (done.is_error()) {
    Fail({done.text.starts_with("OOM") ? ENOSPC : EIO, "Redis: EXEC: " + done.text});
  } else if (done.is_nil()) {
    Fail({kStoreConflict, "somebody else changed what this change is made of"});
  }
  for (const RedisReply& item : done.items) {
    if (item.is_error()) Fail({EIO, "Redis: damaged key: " + item.text});
  }
  if (failed_) return failure_;
  done_ = std::move(done.items);
  return {};
}

void RedisView::Release() {
  if (!watching_ || connection_.broken()) return;
  watching_ = false;
  (void)connection_.Call(RedisCommand{"UNWATCH"});
}

}  // namespace airstore::gateway
