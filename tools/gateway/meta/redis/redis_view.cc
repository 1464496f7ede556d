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
  struct Group {
    std::vector<RedisCommand> commands;
    std::vector<size_t> places;
    bool guarded = false;
  };
  std::map<RedisSlot, Group> groups;
  // Before the data: what changes in between then shows as a change.
  for (const std::string& guard : guards) {
    if (guard.empty() || !guards_.try_emplace(guard).second) continue;
    Group& group = groups[SlotOf(guard)];
    if (group.commands.empty()) group.commands.push_back({writes_ ? "WATCH" : "MGET"});
    group.commands.front().push_back(guard);
    group.guarded = true;
  }
  for (size_t i = 0; i < commands.size(); ++i) {
    Group& group = groups[SlotOf(commands[i]).value_or(0)];
    group.commands.push_back(std::move(commands[i]));
    group.places.push_back(i);
  }
  std::vector<RedisReply> all(commands.size());
  for (auto& [slot, group] : groups) {
    const auto bond =
        writes_ && group.guarded ? RedisRoute::Bond::kWatch : RedisRoute::Bond::kReads;
    auto replies = route_.Call(slot, bond, group.commands);
    if (!replies) {
      Fail(replies.error());
      return {};
    }
    for (size_t i = 0; i < replies->size(); ++i) {
      if (!(*replies)[i].is_error()) continue;
      Fail({EIO, "Redis: " + group.commands[i].front() + ": " + (*replies)[i].text});
      return {};
    }
    ++reads_;
    if (group.guarded && !writes_) {
      const std::vector<RedisReply>& counts = replies->front().items;
      for (size_t i = 0; i < counts.size() && i + 1 < group.commands.front().size(); ++i) {
        guards_[group.commands.front()[i + 1]] = counts[i].text;
      }
    }
    const size_t first = group.guarded ? 1 : 0;
    for (size_t i = 0; i < group.places.size(); ++i) {
      all[group.places[i]] = std::move((*replies)[first + i]);
    }
  }
  return all;
}

std::vector<RedisReply> RedisView::Ask(const std::string& guard,
                                       std::vector<RedisCommand> commands) {
  return Read({guard}, std::move(commands));
}

std::vector<RedisReply> RedisView::AskAtOnce(const std::string& key,
                                             const std::vector<RedisCommand>& commands) {
  if (failed_) return {};
  auto replies = route_.Call(SlotOf(key), RedisRoute::Bond::kAtOnce, commands);
  if (!replies) {
    Fail(replies.error());
    return {};
  }
  for (size_t i = 0; i < replies->size(); ++i) {
    if (!(*replies)[i].is_error()) continue;
    Fail({EIO, "Redis: " + commands[i].front() + ": " + (*replies)[i].text});
    return {};
  }
  ++reads_;
  return std::move(*replies);
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
  std::map<RedisSlot, std::pair<RedisCommand, std::vector<std::string>>> groups;
  for (const auto& [guard, count] : guards_) {
    auto& [command, counts] = groups[SlotOf(guard)];
    if (command.empty()) command.push_back("MGET");
    command.push_back(guard);
    counts.push_back(count);
  }
  for (const auto& [slot, group] : groups) {
    const auto& [command, counts] = group;
    auto replies = route_.Call(slot, RedisRoute::Bond::kReads, std::span(&command, 1));
    if (replies && replies->front().is_error()) {
      replies = Error{EIO, "Redis: MGET: " + replies->front().text};
    }
    if (!replies) {
      Fail(replies.error());
      return failure_;
    }
    const std::vector<RedisReply>& now = replies->front().items;
    for (size_t i = 0; i < counts.size(); ++i) {
      if (i < now.size() && now[i].text == counts[i]) continue;
      Fail({kStoreConflict, "somebody else changed what was being read"});
      return failure_;
    }
  }
  return {};
}

std::map<RedisSlot, RedisView::Changes> RedisView::TakeChanges() {
  std::map<RedisSlot, Changes> all;
  // What any server can do goes with what is before it.
  RedisSlot slot = 0;
  for (size_t i = 0; i < own_.size(); ++i) {
    slot = SlotOf(own_[i]).value_or(slot);
    all[slot].commands.push_back(std::move(own_[i]));
    all[slot].places.push_back(i);
  }
  for (auto& [key, changed] : maps_) {
    std::vector<RedisCommand>& commands = all[SlotOf(key)].commands;
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
  std::map<RedisSlot, std::pair<RedisCommand, RedisCommand>> values;  // set, unlinked
  for (auto& [key, value] : values_) {
    auto& [set, unlink] = values[SlotOf(key)];
    if (value) {
      set.push_back(key);
      set.push_back(std::move(*value));
    } else {
      unlink.push_back(key);
    }
  }
  for (auto& [of, commands] : values) {
    auto& [set, unlink] = commands;
    if (!set.empty()) {
      set.insert(set.begin(), "MSET");
      all[of].commands.push_back(std::move(set));
    }
    if (!unlink.empty()) {
      unlink.insert(unlink.begin(), "UNLINK");
      all[of].commands.push_back(std::move(unlink));
    }
  }
  for (const std::string& guard : touched_) all[SlotOf(guard)].commands.push_back({"INCR", guard});
  return all;
}

Result<void> RedisView::CommitIn(RedisSlot slot, Changes changes) {
  std::vector<RedisCommand>& commands = changes.commands;
  commands.insert(commands.begin(), {"MULTI"});
  commands.push_back({"EXEC"});
  auto replies = route_.Call(slot, RedisRoute::Bond::kAtOnce, commands);
  if (!replies) return replies.error();  // done or not: who repeats it will be told
  for (size_t i = 0; i + 1 < replies->size(); ++i) {
    if ((*replies)[i].is_error()) {
      return Error{EIO, "Redis: " + commands[i].front() + ": " + (*replies)[i].text};
    }
  }
  RedisReply& done = replies->back();
  if (done.is_error()) {
    return Error{done.text.starts_with("OOM") ? ENOSPC : EIO, "Redis: EXEC: " + done.text};
  }
  if (done.is_nil()) {
    return Error{kStoreConflict, "somebody else changed what this change is made of"};
  }
  for (const RedisReply& item : done.items) {
    if (item.is_error()) return Error{EIO, "Redis: damaged key: " + item.text};
  }
  for (size_t i = 0; i < changes.places.size() && i < done.items.size(); ++i) {
    done_[changes.places[i]] = std::move(done.items[i]);
  }
  return {};
}

Result<void> RedisView::Commit(RedisSlot deciding, Order order) {
  if (failed_) return failure_;
  done_.resize(own_.size());
  auto changes = TakeChanges();
  std::vector<RedisSlot> slots;
  // What was only read: of one moment, and not of a later one.
  for (const RedisSlot slot : route_.watching()) {
    if (!changes.contains(slot)) slots.push_back(slot);
  }
  const size_t only_read = slots.size();
  for (const auto& [slot, some] : changes) {
    if (slot != deciding) slots.push_back(slot);
  }
  if (changes.contains(deciding)) {
    const bool first = order == Order::kDecidesFirst;
    slots.insert(first ? slots.begin() + static_cast<std::ptrdiff_t>(only_read) : slots.end(),
                 deciding);
  }
  bool decided = false;
  for (const RedisSlot slot : slots) {
    if (decided) route_.Unwatch(slot);
    if (auto done = CommitIn(slot, std::move(changes[slot])); !done) {
      Fail(done.error());
      return failure_;
    }
    decided = decided || (order == Order::kDecidesFirst && slot == deciding);
  }
  return {};
}

}  // namespace airstore::gateway
