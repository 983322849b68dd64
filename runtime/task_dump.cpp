#include <magpie/runtime/task_dump.hpp>

#include <magpie/runtime/root_group.hpp>
#include <magpie/runtime/runtime_list.hpp>
#include <magpie/runtime/scheduler.hpp>
#include <magpie/runtime/worker.hpp>

#include <poll.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstdio>
#include <string_view>
#include <unordered_map>
#include <vector>

namespace magpie {
namespace {

constexpr std::size_t named_max = 8;  ///< Tasks of a paragraph that are named.

std::string place_text(const std::source_location& place) {
  return std::string(place.file_name()) + ':' + std::to_string(place.line());
}

void add_place(std::string& text, const std::source_location& place, const char* indent) {
  text += indent;
  text += place_text(place);
  if (const std::string function = detail::function_of(place); !function.empty())
    text += " in " + function;
  text += '\n';
}

std::string label(const live_task& task) {
  std::string text = std::to_string(task.id);
  if (!task.name.empty()) text += " (" + task.name + ')';
  return text;
}

/// What tasks of one paragraph have in common.
std::string body_of(const live_task& task) {
  std::string text = "  spawned at " + place_text(task.spawned) + '\n';
  for (const task_stack& stack : task.stacks) {
    if (stack.group) {
      text += "  waits for the children of a group at\n";
    } else {
      text += task.state == task_state::waiting ? "  waits at\n" : "  within\n";
    }
    text += format_stack(stack, "    ");
  }
  if (task.error) {
    text += "  last error: " + task.error.message() + '\n';
    for (const std::source_location& place : task.trace) add_place(text, place, "    through ");
  }
  return text;
}

std::string age_text(std::chrono::nanoseconds age) {
  char text[48];
  std::snprintf(text, sizeof text, "%.3f s old", std::chrono::duration<double>(age).count());
  return text;
}

/// Tasks that are alike.
struct paragraph {
  std::string body;
  std::vector<const live_task*> tasks;
};

std::string head_of(const paragraph& of) {
  const live_task& first = *of.tasks.front();
  std::string text = std::to_string(of.tasks.size());
  text += of.tasks.size() == 1 ? " task, " : " tasks, ";
  text += to_string(first.state);
  if (first.state == task_state::running) text += " on worker " + std::to_string(first.worker);
  const live_task& oldest =
      **std::ranges::max_element(of.tasks, {}, [](const live_task* task) { return task->age; });
  if (oldest.age) text += (of.tasks.size() == 1 ? ", " : ", the oldest ") + age_text(*oldest.age);
  const char* separator = ": ";
  for (std::size_t i = 0; i < std::min(of.tasks.size(), named_max); ++i) {
    text += separator + label(*of.tasks[i]);
    separator = ", ";
  }
  if (of.tasks.size() > named_max)
    text += " and " + std::to_string(of.tasks.size() - named_max) + " more";
  return text + '\n';
}

std::string title(scheduler& of, std::size_t listed) {
  std::size_t parked = 0;
  for (std::size_t i = 0; i < of.size(); ++i) {
    if (of.at(i).parked()) ++parked;
  }
  std::string text = "magpie: " + std::to_string(listed) +
                     (listed == 1 ? " live task; " : " live tasks; ") + std::to_string(of.size()) +
                     (of.size() == 1 ? " worker on " : " workers on ") + to_string(of.reactor()) +
                     ", " + std::to_string(parked) + " parked\n";
  if (!of.settings().track_tasks)
    text += "those that have never waited are not listed: options::track_tasks is off\n";
  return text;
}

void write_all(int fd, std::string_view text) noexcept {
  while (!text.empty()) {
    const ssize_t written = ::write(fd, text.data(), text.size());
    if (written > 0) {
      text.remove_prefix(static_cast<std::size_t>(written));
      continue;
    }
    if (errno == EINTR) continue;
    pollfd wait{fd, POLLOUT, 0};
    constexpr int patience_ms = 1000;
    if (errno != EAGAIN || ::poll(&wait, 1, patience_ms) <= 0) return;
  }
}

}  // namespace

std::string detail::function_of(const std::source_location& place) {
  std::string_view name = place.function_name();
  // GCC 12: "void name(name(parameters)::mangled.Frame*)".
  if (name.ends_with(".Frame*)")) {
    std::size_t at = name.size() - 1;
    for (std::size_t open = 1; at > 0 && open != 0;) {
      --at;
      open += name[at] == ')' ? 1U : 0U;
      open -= name[at] == '(' ? 1U : 0U;
    }
    name = name.substr(0, at);
    if (name.starts_with("void ")) name.remove_prefix(5);
  }
  return std::string(name);
}

std::string format_stack(const task_stack& stack, const char* indent) {
  std::string text;
  for (const std::source_location& place : stack.places) add_place(text, place, indent);
  if (stack.cut) {
    text += indent;
    text += "… and frames further out\n";
  }
  return text;
}

std::string format_tasks(std::span<const live_task> tasks) {
  std::vector<paragraph> paragraphs;
  std::unordered_map<std::string, std::size_t> known;
  for (const live_task& task : tasks) {
    std::string body = body_of(task);
    std::string key = std::string(to_string(task.state)) + std::to_string(task.worker) + body;
    const auto [at, is_new] = known.try_emplace(std::move(key), paragraphs.size());
    if (is_new) paragraphs.push_back({std::move(body), {}});
    paragraphs[at->second].tasks.push_back(&task);
  }
  std::string text;
  for (const paragraph& one : paragraphs) text += head_of(one) + one.body;
  return text;
}

void dump_tasks(int fd) noexcept {
  // The lists are made first: nobody waits for the reader of `fd` while looking.
  std::string text;
  {
    const std::lock_guard alone(detail::runtime_list::looking());
    for (root_group* of = detail::runtime_list::first(); of != nullptr;
         of = detail::runtime_list::after(*of)) {
      const std::vector<live_task> tasks = detail::list_tasks(*of);
      text += title(of->owner(), tasks.size()) + format_tasks(tasks);
    }
  }
  write_all(fd, text);
}

}  // namespace magpie
